"The Russian pages of the site"
import importlib.util
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent

@pytest.fixture(scope='module')
def site_russian():
    spec = importlib.util.spec_from_file_location('site_russian', ROOT/'tools'/'site_russian.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def menu(caption, page): return (f'<p class="caption" role="heading"><span class="caption-text">{caption}</span></p>\n'
                                 f'<ul class="x">\n<li><a href="{page}.html">{page}</a></li>\n</ul>\n')

PAGE = ('<html lang="en"><title>Голос</title><input aria-label="Search" placeholder="Search">'
        '<div class="header-center">\n <a href="../index.html">x</a></div>'
        '<a class="sidebar-brand" href="../index.html">x</a>' +
        menu('Begin here', 'story') + menu('По-русски', 'story_ru') +
        '<span>\n On this page\n</span><p>Next to nothing, Search</p><span>Next</span>')

def test_what_stands_around_a_russian_text_is_russian(site_russian):
    page, missed = site_russian.russian_page(PAGE)
    assert ' lang="ru"' in page and 'placeholder="Поиск"' in page and 'aria-label="Поиск"' in page
    assert page.index('story_ru.html') < page.index('story.html') # the Russian menu first
    assert page.count('href="../index_ru.html"')==2 and 'index.html' not in page
    assert 'На этой странице' in page and '<span>Дальше</span>' in page
    assert '<p>Next to nothing, Search</p>' in page # the text itself is left alone
    assert 'Menu' in missed and 'Next' not in missed

def test_a_theme_with_other_words_ends_the_build(site_russian, tmp_path):
    (tmp_path/'a_ru.html').write_text(PAGE, encoding='utf-8')
    with pytest.raises(SystemExit, match='no page has: .*Back to top'): site_russian.in_russian(tmp_path)
    with pytest.raises(ValueError, match='lang="en"'): site_russian.russian_page('<title>')
