"""The Russian pages of the site, NAME_ru.html: what stands around their text, in Russian too. Used by build_docs.py."""
import re, sys
from pathlib import Path

WORDS = {'Contents': 'Содержание', 'Menu': 'Меню', 'Expand': 'Развернуть', 'Light mode': 'Светлая тема',
         'Dark mode': 'Тёмная тема', 'Auto light/dark, in light mode': 'Тема системы, сейчас светлая',
         'Auto light/dark, in dark mode': 'Тема системы, сейчас тёмная', 'Skip to content': 'К тексту',
         'Back to top': 'Наверх', 'Next': 'Дальше', 'Previous': 'Назад', 'On this page': 'На этой странице',
         'Begin here': 'По-английски', 'Base': 'Основа', 'Data': 'Данные', 'Model': 'Модель', 'Training': 'Обучение',
         'Inference': 'Синтез', 'Evaluation': 'Оценка', 'Listening': 'Прослушивание', 'Commands': 'Команды'}
# Where these are attributes, and the one word that is not alone between tags
ATTRIBUTES = {'Toggle site navigation sidebar': 'Показать или скрыть меню',
              'Toggle table of contents sidebar': 'Показать или скрыть содержание страницы',
              'Toggle Light / Dark / Auto color theme': 'Тема: светлая, тёмная, как в системе', 'Search': 'Поиск',
              'Index': 'Указатель', 'Link to this heading': 'Ссылка на этот раздел'}
LINES = {'Copyright &#169; 2026 onwards, the hifigan_ruslan maintainers': '© с 2026 года, разработчики hifigan_ruslan',
         'Made with <a': 'Сделано с помощью <a', "@pradyunsg</a>'s": '@pradyunsg</a>,'}
SECTION = r'<p class="caption" role="heading"><span class="caption-text">{}</span></p>\s*<ul[^>]*>.*?</ul>\s*'

def russian_page(text:str # HTML of the theme furo around a Russian text
                )->tuple[str,set[str]]: # The page, and the words of ours that did not occur
    "The page in Russian as a whole, with the Russian part of the menu first"
    for old in (' lang="en"', '<title>'):
        if old not in text[:2999]: raise ValueError(f'the page does not have {old!r} where it is expected')
    text, missed = text.replace(' lang="en"', ' lang="ru"', 1), set()
    for en,ru in WORDS.items(): text = _changed(text, rf'(>\s*){re.escape(en)}(\s*<)', rf'\g<1>{ru}\g<2>', en, missed)
    for en,ru in ATTRIBUTES.items():
        text = _changed(text, rf'((?:title|aria-label|placeholder)="){re.escape(en)}"', rf'\g<1>{ru}"', en, missed)
    for en,ru in LINES.items(): text = _changed(text, re.escape(en), ru, en, missed)
    return _own_start(_menu_first(text)), missed

def _changed(text, pattern, new, name, missed):
    text, n = re.subn(pattern, new, text)
    if not n: missed.add(name)
    return text

def _menu_first(text):
    "The Russian pages before the English ones"
    return re.sub(f'({SECTION.format("По-английски")})({SECTION.format("По-русски")})', r'\2\1', text, flags=re.S)

def _own_start(text):
    "The name above leads to the Russian start page"
    return re.sub(r'(<a class="sidebar-brand" href="|<div class="header-center">\s*<a href=")([./]*)(index\.html|#)"',
                  lambda m: m[0] if m[3]=='#' else f'{m[1]}{m[2]}index_ru.html"', text)

def in_russian(out:Path # Folder of the site
              ):
    "Change its Russian pages; words that no page has any more end the build, as the theme has others then"
    missed = []
    for p in out.rglob('*_ru.html'):
        text, left = russian_page(p.read_text(encoding='utf-8'))
        p.write_text(text, encoding='utf-8')
        missed.append(left)
    if never := set.intersection(*missed):
        sys.exit(f'site_russian.py translates what no page has: {", ".join(sorted(never))}')
