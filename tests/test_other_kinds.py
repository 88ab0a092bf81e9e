"""Other cases of the kinds of faults that were mended: what is no file, what is too large, tables of other programs"""
import json, os, sys
from pathlib import Path
import numpy as np, pytest, soundfile as sf
from hifigan_ruslan.dataset.corpus import find_corpus

TEXTS = ['Ёжик вышел из дому', 'Съешь ещё этих булок', 'Чайка летит над морем', 'Где-то идёт дождь']

def corpus(folder, raw, name):
    "Four sounds and one file of metadata"
    for i in range(4): sf.write(folder/f'c{i}.wav', .1*np.sin(np.arange(1600)), 16000)
    (folder/name).write_text(raw, encoding='utf-8')
    return find_corpus(folder)

def rows(form): return ''.join(form.format(i=i, t=t)+'\n' for i,t in enumerate(TEXTS))

TABLES = { # name of the file, content
    'Hugging Face': ('metadata.jsonl', ''.join(json.dumps(dict(file_name=f'c{i}.wav', transcription=t))+'\n'
                                              for i,t in enumerate(TEXTS))),
    'DeepSpeech': ('train.csv', 'wav_filename,wav_filesize,transcript\n'+rows('c{i}.wav,3240,{t}')),
    'MLS': ('transcripts.txt', rows('c{i}\t{t}')),
    'a filelist': ('audio_text_train_filelist.txt', rows('wavs/c{i}.wav|{t}')),
    'seconds between': ('metadata.csv', rows('c{i}|1.25|{t}')),
    'a Russian head': ('metadata.csv', 'Имя файла;Длина;Расшифровка\n'+rows('c{i}.wav;12;{t}'))}

@pytest.mark.parametrize('whose', TABLES)
def test_tables_of_other_programs(tmp_path, whose):
    name, raw = TABLES[whose]
    c = corpus(tmp_path, raw, name)
    assert [c.texts.get(f'c{i}') for i in range(4)]==TEXTS and f'{name}: 4 of 4 rows give a text' in c.layout, c.layout

@pytest.mark.parametrize('name, raw, said', [
    ('metadata.csv', rows('c{i}|{t}')+'c0|другой текст\nc1|'+TEXTS[1]+'\n', '4 of 6 rows give a text, 1 replaced'),
    ('metadata.csv', rows('c{i}|12|{t}|{t} снова'), 'which of its columns holds the text is not sure'),
    ('1-2.trans.txt', rows('c{i} {t}'), "1-2.trans.txt could not be read (no line names a sound before |"),
    ('слова.txt', rows('c{i} {t}'), 'left out: 1 .txt')])
def test_what_is_not_taken_is_said(tmp_path, name, raw, said):
    assert said in corpus(tmp_path, raw, name).layout
