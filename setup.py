"Everything about the package is in settings.ini; edit there, not here."
import shlex
from configparser import ConfigParser
from setuptools import find_packages, setup

config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
pythons = '3.11 3.12 3.13'.split()

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], license='MIT',
    long_description=open('README.md', encoding='utf-8').read(), long_description_content_type='text/markdown',
    python_requires='>=' + cfg['min_python'],
    classifiers=['Programming Language :: Python :: ' + v for v in pythons[pythons.index(cfg['min_python']):]],
    packages=find_packages(include=['hifigan_ruslan', 'hifigan_ruslan.*']), include_package_data=True,
    package_data={'hifigan_ruslan': ['clips/*', 'voices/*/*', 'web/*', 'web/app/*/*']},
    install_requires=shlex.split(cfg['requirements']),
    extras_require={k: shlex.split(cfg[f'{k}_requirements']) for k in ('dev', 'onnx', 'eval')},
    entry_points={'console_scripts': cfg['console_scripts'].split(),
                  'nbdev': ['hifigan_ruslan=hifigan_ruslan._modidx:d']},
    # a .pth file: otherwise `import hifigan_ruslan` in the folder above a clone of that name finds the clone,
    # and nothing in it
    options={'editable_wheel': {'mode': 'compat'}},
    zip_safe=False)
