"""The house's commands, as far as they are alike: options are written out"""
import contextlib, io
import pytest
from hifigan_ruslan import cli
from hifigan_ruslan.base.commands import parser
from hifigan_ruslan.training.command import train_cli

NAMES = 'prepare generate export eval demo'.split()
COMMANDS = {f'hifigan-{n}': getattr(cli, f'{n}_cli') for n in NAMES} | {'hifigan-train': train_cli}
COMMANDS |= {f'hifigan-kaggle {name}': f for name,f in cli.kaggle_actions().items()}

def options_of(name): return [o for o in parser(COMMANDS[name], name)._option_string_actions if o.startswith('--')]

def refusal(name, *words):
    "The last line of what the command says to words that it does not take"
    return said_by(parser(COMMANDS[name], name).parse_args, words, code=2)

def said_by(f, *args, code):
    "The last line on stderr of what ends with this exit code"
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as e: f(*args)
    assert e.value.code==code
    return said.getvalue().splitlines()[-1]

@pytest.mark.parametrize('name', COMMANDS)
def test_no_option_is_abbreviated(name):
    "--hour 20 would get past whatever looks for --hours"
    words = ['1']*sum(not a.option_strings for a in parser(COMMANDS[name], name)._actions)
    for option in options_of(name):
        short = option[:-1]
        if short in options_of(name) or option=='--help': continue
        said = refusal(name, *words, short, '1')
        assert f'unrecognized arguments: {short}' in said and option in said, said

def test_an_option_cut_short_in_the_string_of_options():
    "As hifigan-kaggle push --train '--hour 20' has it, which version 0.1 sent"
    assert '--hours may be meant' in said_by(cli.kaggle_cli, 'push', '--train', '--hour 20', code=1)
