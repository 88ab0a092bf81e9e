"Sphinx settings; tools/build_docs.py makes the pages and calls Sphinx"
import re
from configparser import ConfigParser
from pathlib import Path
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_id

settings = ConfigParser(delimiters=['='])
settings.read(Path(__file__).parent.parent/'settings.ini', encoding='utf-8')
settings = settings['DEFAULT']

project, author, release, copyright = (settings[k] for k in 'title author version copyright'.split())
extensions = ['myst_nb', 'sphinx_copybutton']
copybutton_selector = 'div.cell_input pre, div.highlight-sh pre, div.highlight-python pre' # not what is shown by cells

nb_execution_mode = 'off' # the pages come executed
nb_merge_streams = True
nb_render_markdown_format = 'myst'
nb_ipywidgets_js = {} # no page shows a live widget, so no script of theirs is fetched from elsewhere
nb_code_prompt_show = nb_code_prompt_hide = 'Source'
myst_enable_extensions = ['colon_fence', 'dollarmath']
myst_dmath_double_inline = True
myst_heading_anchors = 4

html_theme = 'furo'
html_title = project
html_math_renderer = 'mathml'
html_static_path, html_favicon = ['_static'], '_static/favicon.svg'
html_css_files = ['extra.css']
html_copy_source = html_show_sourcelink = False
html_theme_options = dict(
    light_css_variables={'color-brand-primary': '#2f5d8a', 'color-brand-content': '#2f5d8a'},
    dark_css_variables={'color-brand-primary': '#8db8e2', 'color-brand-content': '#8db8e2'})

# 4{,}44, as latex2mathml has it: two numbers and a sign with a space after it
DECIMAL_COMMA = re.compile(r'<mn>(\d+)</mn><mrow><mo>&#x0002C;</mo></mrow><mn>(\d+)</mn>')

def math(display):
    "Visitor that writes a formula as MathML, which browsers draw by themselves: no script, no network"
    def visit(translator, node):
        formula = convert(node.astext(), display=display)
        translator.body.append(DECIMAL_COMMA.sub(r'<mn>\1,\2</mn>', formula))
        raise nodes.SkipNode
    return visit, None

def modules():
    "Page -> module that its notebook makes: files -> base.files"
    found = {}
    for p in (Path(__file__).parent.parent/'nbs').glob('[0-9]*.ipynb'):
        m = re.search(r'#\| default_exp ([\w.]+)', p.read_text(encoding='utf-8'))
        if m: found[p.stem.partition('_')[2]] = m[1]
    return found

MODULES = modules()

class Api(SphinxDirective):
    """An invisible mark: what is described here is an object of the module of this page. Search and objects.inv know
    it then"""
    required_arguments = 2 # kind, name inside the module

    def run(self):
        kind, name = self.arguments
        mark = nodes.target('', '', ids=[make_id(self.env, self.state.document, '', name)])
        self.state.document.note_explicit_target(mark)
        module = MODULES.get(self.env.docname, self.env.docname)
        python = self.env.get_domain('py')
        python.note_object(f'{project}.{module}.{name}', kind, mark['ids'][0], location=mark)
        return [mark]

# A formula in a line, and the signs that belong to it
WITH_SIGNS = re.compile(r'<math [^>]*display="inline"(?:(?!</math>).)*</math>[.,;:!?)]+', re.S)

def keep_with_formula(app, pagename, templatename, context, doctree):
    "No line begins with the period after a formula"
    if 'body' in context:
        context['body'] = WITH_SIGNS.sub(r'<span style="white-space:nowrap">\g<0></span>', context['body'])

def setup(app):
    app.connect('html-page-context', keep_with_formula)
    app.add_html_math_renderer('mathml', math('inline'), math('block'))
    app.add_directive('api', Api)
