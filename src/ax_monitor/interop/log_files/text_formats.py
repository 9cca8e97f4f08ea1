"""The text formats that are recognised: one row each.

To add a format, add a row. The specific rows exclude each other, so that their order says
nothing; the general rows come last. Patterns are anchored at the start of the line and repeat no
ambiguous part, so that a match takes time linear in the line.
"""

from __future__ import annotations

import re
from string import ascii_letters, ascii_uppercase, digits

from ax_monitor.interop.log_files import text_builders as build
from ax_monitor.interop.log_files.text_builders import LEVEL_WORDS, QUOTED
from ax_monitor.interop.log_files.text_format import Clock, Make, TextFormat, by_names
from ax_monitor.interop.log_files.times import ISO, MONTH

TIME = rf"\[?{ISO}\]?"
"""How the pattern of every row that begins with an ISO date begins."""

_LEVEL = r"(?P<level>[A-Za-z]+)"
_NO_LEVEL = rf"(?!(?:{LEVEL_WORDS})\b)"
_CLOCK = r"(?P<clock>\d\d:\d\d:\d\d)"
_YEARLESS = rf"(?P<time>(?P<month>{MONTH}) (?P<day>[ \d]\d) {_CLOCK})"
_TAG = r"(?P<source>[^\s:\[\]]+)(?:\[(?P<pid>\d+)\])?: ?"
_PRIORITY = r"<(?P<priority>\d{1,3})>"


def _row(
    name: str,
    pattern: str,
    clock: Clock | None,
    make: Make = by_names,
    *,
    starts: str = "[" + digits,
    general: bool = False,
) -> TextFormat:
    return TextFormat(name, re.compile(pattern, re.ASCII), starts, clock, make, general)


TEXT_FORMATS: tuple[TextFormat, ...] = (
    _row(
        "log4j",  # also Rust's tracing, and Python's "%(asctime)s [%(levelname)s] %(name)s: …"
        rf"{TIME} +\[?{_LEVEL}(?: *\])? +(?:\[(?P<thread>[^\]]*)\] +|(?![A-Z][a-z]*:))"
        r"(?P<source>[A-Za-z_][\w.$:/#@<>-]*):(?: |$)",
        build.iso,
    ),
    _row(
        "log4j-dash",
        rf"{TIME} +{_LEVEL} +(?:\[(?P<thread>[^\]]*)\] +)?(?P<source>\w+(?:\.[\w$]+)+) - ",
        build.iso,
    ),
    _row("logback", rf"{TIME} +\[(?P<thread>[^\]]*)\] +{_LEVEL} +(?P<source>\S+) +- ?", build.iso),
    _row(
        "spring",
        rf"{TIME} +{_LEVEL} +(?P<pid>\d+) --- (?:\[(?P<application>[^\]]*)\] )?"
        r"\[ *+(?P<thread>[^\]]*)\] (?P<source>\S+) *: ?",
        build.iso,
    ),
    _row(
        "zookeeper",
        rf"{TIME} (?:\[myid:(?P<myid>\d*)\] )?- {_LEVEL} +"
        r"\[(?P<thread>.*?):(?P<source>[\w.$]+)@(?P<line>-?\d+)\] - ?",
        build.iso,
    ),
    _row("python", rf"{TIME} - (?P<source>\S+) - {_LEVEL} - ", build.iso),
    _row(
        "python-spaced",
        rf"{TIME} {_NO_LEVEL}(?P<source>[A-Za-z_][\w.]*) +(?P<level>{LEVEL_WORDS}):? +",
        build.iso,
    ),
    _row("python-basic", r"(?P<level>[A-Z]+):(?P<source>[\w.-]+):", None, starts=ascii_uppercase),
    _row(
        "loguru",
        rf"{TIME} \| {_LEVEL} *\| (?P<source>[^\s|:]+):(?P<function>[^\s|:]+):(?P<line>\d+) - ",
        build.iso,
    ),
    _row("flask", rf"{TIME} {_LEVEL} in (?P<source>\S+): ", build.iso),
    _row("celery", rf"\[{ISO}: (?P<source>){_LEVEL}/(?P<process>[^\]]+)\] ", build.iso, starts="["),
    _row(
        "openstack",
        rf"(?:(?P<file>\S+) )?{ISO} (?P<pid>\d+) {_LEVEL} (?P<source>\S+) "
        r"\[(?:None )?(?P<request_id>req-[^\s\]]+|-)(?: (?P<user>[^\s\]]+) (?P<tenant>[^\s\]]+)"
        r"(?: (?P<domain>[^\s\]]+) (?P<user_domain>[^\s\]]+) (?P<project_domain>[^\s\]]+))?)?\] ?",
        build.iso,
        build.openstack,
        starts="",
    ),
    _row(
        "hdfs",
        rf"(?P<time>(?P<day>\d{{6}}) (?P<clock>\d{{6}})) (?P<pid>\d+) {_LEVEL} (?P<source>\S+): ?",
        build.compact,
    ),
    _row(
        "spark",
        rf"(?P<time>(?P<day>\d\d/\d\d/\d\d) {_CLOCK}) {_LEVEL} (?P<source>\S+): ?",
        build.compact,
    ),
    _row(
        "apache-error",
        rf"\[[A-Z][a-z]{{2}} (?P<time>(?P<month>{MONTH}) (?P<day>[ \d]\d) {_CLOCK}"
        r"(?:\.(?P<fraction>\d+))? (?P<year>\d{4}))\] \[(?:(?P<source>[\w-]*):)?(?P<level>[a-z]+)"
        r"\d?\] ?(?:\[pid (?P<pid>\d+)(?::tid (?P<tid>\d+))?\] )?"
        r"(?:\[client (?P<client>[^\]]+)\] )?",
        build.ctime,
        starts="[",
    ),
    _row(
        "access",
        r"(?:(?P<host>\S+:\d+) )?(?P<client>\S+) (?P<ident>\S+) (?P<user>\S+) "
        rf"\[(?P<time>\d\d/{MONTH}/\d{{4}}:\d\d:\d\d:\d\d) (?P<zone>[+-]\d{{4}})\] "
        rf'"(?P<request>{QUOTED})" (?P<status>[1-9]\d\d) (?P<size>\d+|-)'
        rf'(?: "(?P<referer>{QUOTED})" "(?P<user_agent>{QUOTED})")?(?: (?P<extra>.*))?',
        build.access_clock,
        build.access,
        starts="",
    ),
    _row(
        "rfc5424",
        rf"{_PRIORITY}1 (?:{ISO}|-) (?P<host>\S+) (?P<source>\S+) (?P<pid>\S+) "
        rf'(?P<message_id>\S+) (?P<data>-|(?:\[[^\s\]"=]+(?: [^\s\]"=]+="{QUOTED}")*\])+)'
        r"(?: \ufeff?|$)",
        build.iso,
        build.rfc5424,
        starts="<",
    ),
    _row(
        "syslog",
        rf"(?:{_PRIORITY})?{_YEARLESS} (?P<host>\S+) (?:{_TAG})?",
        build.yearless,
        build.syslog,
        starts="<" + ascii_uppercase,
    ),
    _row(
        "syslog-iso",  # rsyslog's RSYSLOG_FileFormat, known by its six digits and its offset
        rf"(?:{_PRIORITY})?(?=[\dT:-]{{19}}\.\d{{6}}[+-]\d\d:\d\d ){ISO} {_NO_LEVEL}(?P<host>\S+) "
        rf"{_NO_LEVEL}{_TAG}",
        build.iso,
        build.syslog,
        starts="<" + digits,
    ),
    _row(
        "klog",
        r"(?P<level>[IWEF])(?P<time>(?P<year>\d{4})?(?P<month>\d\d)(?P<day>\d\d) "
        rf"{_CLOCK}\.(?P<fraction>\d{{6}})) +(?P<tid>\d+) "
        r"(?P<source>[^\s:\]]+):(?P<line>\d+)\] ?",
        build.klog_clock,
        starts="IWEF",
    ),
    _row(
        "dated",
        rf"\[?{ISO}(?:\]?[:,]? +(?:[-|] +)?|\]|\||$)",
        build.iso,
        build.general,
        general=True,
    ),
    _row(
        "epoch",
        r"\[?(?P<time>[1-4]\d{9}(?:\d{3}|\d{6}|\d{9})?(?:\.\d{1,9})?)"
        r"(?:\]?[:,]? +(?:[-|] +)?|\]|$)",
        build.epoch,
        build.general,
        general=True,
    ),
    _row(
        "levelled",
        r"(?=[A-Za-z\[])",
        None,
        build.levelled,
        starts="[" + ascii_letters,
        general=True,
    ),
)
"""Every text format: specific rows first, then the general ones."""
