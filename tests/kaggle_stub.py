"""A stub of Kaggle's API on loopback, for the real `kaggle` command: strict about what it is asked, with a record.
What Kaggle's server is not known to do is refused here: unknown routes, methods and fields, requests without a name
and a key."""
import base64, io, json, os, re, site, threading, zipfile
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

API = '/api/v1/'
FIELDS = dict(slug=str, newTitle=str, text=str, language=str, kernelType=str, isPrivate=bool, enableGpu=bool,
              enableTpu=bool, enableInternet=bool, machineShape=str, datasetDataSources=list,
              competitionDataSources=list, kernelDataSources=list, modelDataSources=list, categoryIds=list,
              sessionTimeoutSeconds=int)
NEEDED = ('slug', 'newTitle', 'text', 'language', 'kernelType')
LIMIT = 1_000_000 # Bytes of text
BLOB = dict(type=str, name=str, contentLength=int, contentType=str, lastModifiedEpochSeconds=int)
DATASET = dict(ownerSlug=str, slug=str, title=str, licenseName=str, isPrivate=bool, files=list, subtitle=str,
               description=str, categoryIds=list)
VERSION = dict(versionNotes=str, subtitle=str, description=str, files=list, categoryIds=list, deleteOldVersions=bool)
# Of the names that the CLI's documentation lists
LICENCES = 'CC0-1.0 CC-BY-SA-4.0 CC-BY-NC-SA-4.0 GPL-2.0 ODbL-1.0 DbCL-1.0 copyright-authors other unknown'.split()

class Refused(Exception):
    "An answer with an HTTP status of its own"
    def __init__(self, status, message): super().__init__(message); self.status = status

def need(body, fields, *needed):
    "Refuse a body with other fields, or without those that are needed"
    bad = [k for k,v in body.items() if k not in fields or type(v) is not fields[k]]
    bad += [k for k in needed if not body.get(k)]
    if bad: raise Refused(400, f'Invalid fields: {bad}')

def slug_of(title): return re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')

class KaggleStub:
    """`with KaggleStub() as kaggle`: set what it answers, run the command in the environment `kaggle.env(home)`,
    look into `kaggle.requests`"""
    def __init__(self, user='alice', key='0'*32, datasets=('freezerainml/ruslan',)):
        self.user, self.key, self.datasets = user, key, set(datasets)
        self.tokens = {}                          # token -> user name
        self.requests = []                        # (path, body) of every request, in order
        self.kernels = {}                         # id -> the bodies pushed, one a version
        self.save_answer = None                   # a dict, or (HTTP status, dict), in place of the answer to a push
        self.statuses = ['COMPLETE']              # answered in turn; the last one stays. A dict is the whole answer
        self.output = {}                          # name -> bytes, or the HTTP status that its download ends with
        self.modified = datetime.now(timezone.utc)
        self.log = []                             # events: {stream_name, time, data}
        self.is_running = False                   # the log is followed as a stream of events, else it is one JSON list
        self.blobs = {}                           # token -> [name, length, bytes or None]
        self.puts = []                            # (name, bytes that came) of each part of an upload
        self.breaks = None                        # name of a blob whose upload breaks off in the middle, once
        self.stored = {}                          # id of a dataset -> its versions, each name -> bytes
        self.made = {}                            # id of a dataset -> the body with which it was made
        self.dataset_statuses = ['READY']         # as `statuses`
        self.dataset_answer = None                # as `save_answer`, for a new dataset or a new version
        self.files_of = {}                        # id of a dataset that is not made here -> name -> bytes
        self.lag = 0                              # so many readings of a dataset still get the version before
        self.zipped = False                       # a single file comes as FILE.zip
        self.unreadable = None                    # HTTP status with which the reading of a dataset's file ends
        self.gpu_hours = [5., 30.]                # of the week, used and allowed; None = Kaggle does not tell
        self.refresh = '2026-12-05T00:00:00Z'     # when there are new ones

    def __enter__(self):
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), type('Handler', (_Handler,), dict(stub=self)))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self
    def __exit__(self, *args): self.server.shutdown(); self.server.server_close()
    @property
    def url(self): return f'http://127.0.0.1:{self.server.server_port}'

    def env(self, home, login=True):
        """The environment for the `kaggle` command: this process's, with another home, and this stub for Kaggle;
        `login`: with the name and key of `user`"""
        home = Path(home); (home/'.kaggle').mkdir(parents=True, exist_ok=True)
        kept = {k: v for k,v in os.environ.items()
                if not k.startswith(('KAGGLE_', 'XDG_')) and not k.lower().endswith('_proxy')}
        name = dict(KAGGLE_USERNAME=self.user, KAGGLE_KEY=self.key) if login else {}
        here = dict(KAGGLE_API_ENVIRONMENT='LOCALHOST', http_proxy=self.url, HTTP_PROXY=self.url)
        return kept | name | here | dict(HOME=str(home), USERPROFILE=str(home), KAGGLE_CONFIG_DIR=str(home/'.kaggle'),
                                         PYTHONUSERBASE=site.getuserbase())

    def asked(self, name): return [body for path,body in self.requests if path.endswith('/'+name)]
    @property
    def pushed(self): return self.asked('SaveKernel')[-1]

    # the routes

    def save(self, user, body):
        need(body, FIELDS, *NEEDED)
        if isinstance(self.save_answer, tuple): raise Refused(self.save_answer[0], self.save_answer[1]['message'])
        if self.save_answer: return self.save_answer
        if len(body['text'].encode())>=LIMIT:
            raise Refused(400, 'The kernel source must be less than 1 megabytes in size.')
        if body['kernelType']=='notebook': json.loads(body['text'])
        id = body['slug']; owner, _, slug = id.partition('/')
        if owner!=user: raise Refused(403, "Permission 'kernels.update' was denied")
        if id not in self.kernels and slug!=slug_of(body['newTitle']): return dict(error='Notebook not found')
        def unknown(kind, known): return [s for s in body.get(kind, ()) if '/'.join(s.split('/')[:2]) not in known]
        answer = dict(ref=f'/code/{id}', url=f'https://www.kaggle.com/code/{id}',
                      versionNumber=len(self.kernels.get(id, ()))+1,
                      invalidDatasetSources=unknown('datasetDataSources', self.datasets),
                      invalidKernelSources=unknown('kernelDataSources', self.kernels),
                      invalidCompetitionSources=body.get('competitionDataSources', []))
        self.kernels.setdefault(id, []).append(body)
        return answer

    def known(self, owner, slug):
        if f'{owner}/{slug}' not in self.kernels: raise Refused(403, "Permission 'kernels.get' was denied")

    def status(self, user, body):
        self.known(body['userName'], body['kernelSlug'])
        s = self.statuses.pop(0) if len(self.statuses)>1 else self.statuses[0]
        return s if isinstance(s, dict) else dict(status=s)

    def quota(self, user, body):
        if body: raise Refused(400, f'Invalid fields: {list(body)}')
        if self.gpu_hours is None: raise Refused(404, 'Not found')
        used, allowed = (f'{int(3600*h)}s' for h in self.gpu_hours)
        gpu = dict(timeUsed=used, timeReserved='0s', totalTimeAllowed=allowed, minimumTimeAllowed=allowed)
        return dict(quotaRefreshTime=self.refresh, gpuQuota=gpu, tpuQuota=gpu | dict(totalTimeAllowed='72000s'))

    def list_output(self, user, body):
        self.known(body['userName'], body['kernelSlug'])
        names, start, size = list(self.output), int(body.get('pageToken') or 0), body.get('pageSize', 20)
        if not 1<=size<=200: raise Refused(400, f'Invalid page size: {size}')
        files = [dict(fileName=n, url=f'{self.url}/files/{quote(n)}') for n in names[start:start+size]]
        more = dict(nextPageToken=str(start+size)) if start+size<len(names) else {}
        return dict(files=files, log=json.dumps(self.log) if self.log else '') | more

    # datasets

    def start_blob(self, user, body):
        need(body, BLOB, 'type', 'name', 'contentLength')
        if body['type']!='DATASET' or '/' in body['name']: raise Refused(400, f'Invalid blob: {body}')
        token = f'blob-{len(self.blobs)}'
        self.blobs[token] = [body['name'], body['contentLength'], None]
        return dict(token=token, createUrl=f'{self.url}/upload/{token}')

    def take(self, files):
        "Name -> bytes of what was uploaded"
        if not files or any(set(f)!={'token'} for f in files): raise Refused(400, f'Invalid files: {files}')
        blobs = [self.blobs[f['token']] for f in files]
        lost = [name for name,length,data in blobs if data is None or len(data)!=length]
        if lost: raise Refused(400, f'Not uploaded: {lost}')
        return {name: data for name,_,data in blobs}

    def answered(self):
        if isinstance(self.dataset_answer, tuple):
            status, answer = self.dataset_answer
            raise Refused(status, answer['message'])
        return self.dataset_answer

    def create_dataset(self, user, body):
        need(body, DATASET, 'ownerSlug', 'slug', 'title', 'licenseName', 'files')
        if given := self.answered(): return given
        if body['ownerSlug']!=user: raise Refused(403, "Permission 'datasets.create' was denied")
        def error(text): return dict(status='error', error=text)
        if body['licenseName'] not in LICENCES: return error(f"Invalid license: {body['licenseName']}")
        if not re.fullmatch(r'[a-z0-9][a-z0-9-]{4,48}[a-z0-9]', body['slug']): return error('Invalid slug')
        id = f"{user}/{body['slug']}"
        if any(b['title']==body['title'] for b in self.made.values()):
            return error(f'The requested title "{body["title"]}" is already in use by a dataset. '
                         'Please choose another title.')
        self.stored[id], self.made[id] = [self.take(body['files'])], body
        self.datasets.add(id)
        return dict(status='ok', url=f'https://www.kaggle.com/datasets/{id}')

    def create_version(self, user, body):
        if set(body)!={'ownerSlug', 'datasetSlug', 'body'}: raise Refused(400, f'Invalid fields: {list(body)}')
        need(body['body'], VERSION, 'versionNotes', 'files')
        if given := self.answered(): return given
        id = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if body['ownerSlug']!=user or id not in self.stored:
            raise Refused(403, "Permission 'datasets.update' was denied")
        self.stored[id].append(self.take(body['body']['files']))
        return dict(status='ok', url=f'https://www.kaggle.com/datasets/{id}')

    def known_dataset(self, body):
        id = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if id not in self.stored: raise Refused(403, "Permission 'datasets.get' was denied")
        return id

    def dataset_status(self, user, body):
        self.known_dataset(body)
        return dict(status=self.dataset_statuses.pop(0) if len(self.dataset_statuses)>1 else self.dataset_statuses[0])

    def dataset_metadata(self, user, body):
        made = self.made.get(self.known_dataset(body), {})
        return dict(info=dict(licenses=[dict(name=made.get('licenseName', 'unknown'))]))

    def download_dataset(self, user, body):
        "The address of a file; what lies there is settled here, as a version may come in between"
        id = self.known_dataset(body)
        if self.unreadable: raise Refused(self.unreadable, 'Not now')
        versions = self.stored[id]
        old, self.lag = self.lag>0 and len(versions)>1, max(0, self.lag-1)
        files = versions[-2 if old else -1]
        if body['fileName'] not in files: raise Refused(404, 'Not found')
        name, data = body['fileName'], files[body['fileName']]
        if self.zipped: name, data = name+'.zip', zipped(name, data)
        self.output['datasets/'+name] = data
        return Elsewhere(f'{self.url}/files/datasets/{quote(name)}')

    def list_files(self, user, body):
        "Of one that was not made here, as it is in `datasets`, nothing is told but that it is there"
        id = f"{body['ownerSlug']}/{body['datasetSlug']}"
        others = self.datasets-{*self.stored}
        files = self.files_of.get(id, {}) if id in others else self.stored[self.known_dataset(body)][-1]
        return dict(datasetFiles=[dict(name=n, totalBytes=len(b), creationDate='2026-11-01T00:00:00Z')
                                  for n,b in files.items()])

    def introspect(self, user, body):
        token = body['token']
        return dict(active=token in self.tokens, username=self.tokens.get(token, ''))

    routes = {API+name: f for name,f in {
        'kernels.KernelsApiService/SaveKernel': save,
        'kernels.KernelsApiService/GetKernelSessionStatus': status,
        'kernels.KernelsApiService/ListKernelSessionOutput': list_output,
        'kernels.KernelsApiService/GetAcceleratorQuotaStatistics': quota,
        'security.OAuthService/IntrospectToken': introspect,
        'blobs.BlobApiService/StartBlobUpload': start_blob,
        'datasets.DatasetApiService/CreateDataset': create_dataset,
        'datasets.DatasetApiService/CreateDatasetVersion': create_version,
        'datasets.DatasetApiService/GetDatasetStatus': dataset_status,
        'datasets.DatasetApiService/GetDatasetMetadata': dataset_metadata,
        'datasets.DatasetApiService/DownloadDataset': download_dataset,
        'datasets.DatasetApiService/ListDatasetFiles': list_files}.items()}

class Elsewhere(str): "An answer that is an address"

def zipped(name, data):
    with io.BytesIO() as b:
        with zipfile.ZipFile(b, 'w') as z: z.writestr(name, data)
        return b.getvalue()

class _Handler(BaseHTTPRequestHandler):
    stub = None
    def log_message(self, *args): pass

    def answer(self, status, data, kind='application/json'):
        data = json.dumps(data).encode() if not isinstance(data, bytes) else data
        self.send_response(status)
        modified = self.stub.modified.strftime('%a, %d %b %Y %H:%M:%S GMT')
        for k,v in {'Content-Type': kind, 'Content-Length': len(data), 'Last-Modified': modified}.items():
            self.send_header(k, v)
        self.end_headers(); self.wfile.write(data)

    def user(self):
        "Whose name and key, or token, came with the request"
        kind, _, value = self.headers.get('Authorization', '').partition(' ')
        if kind=='Bearer' and value in self.stub.tokens: return self.stub.tokens[value]
        if kind=='Basic' and base64.b64decode(value).decode()==f'{self.stub.user}:{self.stub.key}':
            return self.stub.user
        raise Refused(401, 'Unauthenticated')

    def do_GET(self): self.reply('GET')
    def do_POST(self): self.reply('POST')

    def do_PUT(self):
        "A blob, to the address that StartBlobUpload gave; without a login, as the address is the secret"
        token = urlsplit(self.path).path.removeprefix('/upload/')
        data = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        part = self.headers.get('Content-Range', '')
        if token not in self.stub.blobs: return self.answer(404, dict(code=404, message='Not found'))
        blob = self.stub.blobs[token]
        if part.startswith('bytes */'): return self.how_far(*blob)
        self.stub.puts.append((blob[0], len(data)))
        breaks, self.stub.breaks = self.stub.breaks==blob[0], None if self.stub.breaks==blob[0] else self.stub.breaks
        start = int(part.removeprefix('bytes ').partition('-')[0]) if part else 0
        blob[2] = (blob[2] or b'')[:start] + (data[:len(data)//2] if breaks else data)
        self.answer(500 if breaks else 200, b'')

    def how_far(self, name, length, data):
        "Asked by the command before it goes on with an upload, as Google's storage answers"
        if data is not None and len(data)==length: return self.answer(200, b'')
        self.send_response(308)
        if data: self.send_header('Range', f'bytes=0-{len(data)-1}')
        self.send_header('Content-Length', '0')
        self.end_headers()

    def reply(self, method):
        path = unquote(urlsplit(self.path).path) # asked as a proxy: the path comes with http://host
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        try:
            body = json.loads(body or '{}')
            self.stub.requests.append((path, body))
            self.route(method, path, body)
        except Refused as e: self.answer(e.status, dict(code=e.status, message=str(e)))
        except (KeyError, ValueError, TypeError) as e: self.answer(400, dict(code=400, message=f'Bad request: {e!r}'))

    def route(self, method, path, body):
        stub, stream = self.stub, f'{API}kernels/logs/stream/'
        wanted = 'POST' if path in stub.routes else 'GET' if path.startswith((stream, '/files/')) else None
        if wanted is None: raise Refused(404, f'Not found: {path}')
        if method!=wanted: raise Refused(405, f'Method not allowed: {method} {path}')
        if path.startswith('/files/'): return self.file(path.removeprefix('/files/'))
        user = None if path.endswith('/IntrospectToken') else self.user()
        if wanted=='POST': return self.found(stub.routes[path](stub, user, body))
        stub.known(*path.removeprefix(stream).split('/'))
        if not stub.is_running: return self.answer(200, stub.log)
        events = ''.join(f'data: {d}\n\n' for d in (*map(json.dumps, stub.log), 'END_OF_LOG'))
        self.answer(200, events.encode(), 'text/event-stream')

    def found(self, answer):
        if not isinstance(answer, Elsewhere): return self.answer(200, answer)
        self.send_response(302)
        self.send_header('Location', answer); self.send_header('Content-Length', '0')
        self.end_headers()

    def file(self, name):
        if name not in self.stub.output: raise Refused(404, f'Not found: {name}')
        data = self.stub.output[name]
        expired = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code></Error>"
        if isinstance(data, int): return self.answer(data, expired, 'application/xml')
        self.answer(200, data, 'application/octet-stream')
