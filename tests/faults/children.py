"""What the children of the fault tests do: `python -m tests.faults.children LIMIT NAME …`."""

from __future__ import annotations

import atexit
import faulthandler
import fcntl
import gc
import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from typing import Any

import ax_monitor
from ax_monitor import MetricsCollector, Store, StructuredLogger
from ax_monitor.pipeline import store as store_module
from ax_monitor.storage import logs


def say(text: object) -> None:
    """One line to the parent, at once and in one piece."""
    os.write(1, f"{text}\n".encode())


def log(logger: StructuredLogger, message: str) -> None:
    """Record, then acknowledge."""
    logger.info(message, "child", metadata={"pid": os.getpid()})
    os.write(1, f"+{message}\n".encode())


def log_for_ever(logger: StructuredLogger, name: str) -> None:
    for number in itertools.count():
        log(logger, f"m{name}-{number}")


def start_threads(count: int, target: Any, *args: Any) -> list[threading.Thread]:
    threads = [
        threading.Thread(target=target, args=(*args, f"t{index}"), daemon=True)
        for index in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads


def stats_of(store: Store) -> str:
    stats = store.stats()
    return json.dumps({name: getattr(stats, name) for name in stats.__slots__})


def load(db: str, threads: str) -> None:
    """Log from several threads until killed. Nothing is dropped, however slow the machine is."""
    logger = StructuredLogger(Store(db, overflow_wait_ms=60_000))
    for thread in start_threads(int(threads), log_for_ever, logger):
        thread.join()


def sample(db: str, threads: str, run: str) -> None:
    """Record samples from several threads until killed, half of them of a minute that is over."""
    metrics = MetricsCollector(Store(db))

    def record(name: str) -> None:
        name = f"run{run}{name}"
        series = metrics.series("load", labels={"thread": name})
        begun_ms = time.time_ns() // 1_000_000
        for number in itertools.count():
            if number % 2:
                series.record(number)
            else:
                series.record_at(number, begun_ms - 3_600_000 + number)
            os.write(1, f"+{name}-{number}\n".encode())

    for thread in start_threads(int(threads), record):
        thread.join()


def fill(db: str, count: str) -> None:
    """Log so many records, and wait to be killed."""
    logger = StructuredLogger(Store(db))
    for number in range(int(count)):
        log(logger, f"m{number}")
    say("filled")
    signal.pause()


def recover(db: str) -> None:
    """Only open, and look whether all is there."""
    with Store(db) as store:
        say("open")
        store.flush()
        say(store.stats().recovered)


def hold_lock(path: str) -> None:
    """Own a ring file, as far as others can tell."""
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        say("locked")
        signal.pause()


def end(db: str, how: str) -> None:
    """Log, and end in some unfriendly way."""
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    store = Store(db)
    logger = StructuredLogger(store)
    after = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    assert before == after == (signal.SIG_DFL, signal.default_int_handler)
    for number in range(2000):
        log(logger, f"m{number}")
    if how == "os._exit":
        os._exit(3)
    elif how == "exception":
        raise RuntimeError("the engine's own trouble")
    elif how == "sys.exit":
        sys.exit(3)
    elif how == "multiprocessing":
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_log_many, args=(logger, "c"))
        process.start()
        process.join()
        assert process.exitcode == 0
        os._exit(3)
    elif how == "abort":
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    say("ready")
    while True:
        time.sleep(1)


def _log_many(logger: StructuredLogger, name: str) -> None:
    for number in range(2000):
        log(logger, f"m{name}-{number}")


def fork_storm(db: str, forks: str, threads: str, limit_s: str = "2") -> None:
    """Fork while threads log; every child logs, flushes and ends within its time."""
    store = Store(db)
    logger = StructuredLogger(store)
    stop = threading.Event()

    def engine(name: str) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            logger.info(f"me{name}-{number}", "engine")
            if number % 20 == 0:
                time.sleep(0.001)

    for _ in range(int(threads)):
        threading.Thread(target=engine, args=(f"{_}",), daemon=True).start()
    durations = []
    for number in range(int(forks)):
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            faulthandler.register(signal.SIGALRM, chain=True)  # say where, and die
            signal.alarm(int(limit_s))
            log(logger, f"m{number}")
            if number % 2 == 0:
                store.flush()
                assert len(logger.query_logs(search=f"m{number}")) == 1
            if number % 4 == 0:
                store.close()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert status == 0, f"child {number} ended with status {status}"
        durations.append(time.monotonic() - started)
    stop.set()
    say(json.dumps(durations))
    os._exit(0)


def daemonize(db: str, seconds: str) -> None:
    """Record, query, then go on as a daemon: the parent's connections must not be used there."""
    store = Store(db)
    logger = StructuredLogger(store)
    log(logger, "mparent")
    logger.query_logs()
    following = logger.tail(last=1)
    next(following)
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(int(float(seconds)) + 30)
    sys.excepthook = lambda *error: (sys.__excepthook__(*error), os._exit(1))
    say(f"pid {os.getpid()}")
    end = time.monotonic() + float(seconds)
    number = 0
    while time.monotonic() < end or number < 100:
        for _ in range(10):
            log(logger, f"md{number}")
            number += 1
        while not store.flush():
            say("the others were in the way")  # nothing is lost by that; the alarm ends it
        next(following)  # it follows with connections of this process
    store.close()
    following.close()
    say("done")
    os._exit(0)  # the exit would wait for the watchdog's thread, which stayed with the parent


def open_and_close(db: str, seconds: str, name: str) -> None:
    """Open, log and close again and again: another program beside."""
    end = time.monotonic() + float(seconds)
    number = 0
    while time.monotonic() < end:
        with Store(db) as store:
            log(StructuredLogger(store), f"m{name}-{number}")
            number += 1


def audited(db: str) -> None:
    """Use everything, and report every path that Python was asked to open."""
    opened: list[str] = []

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], (str, bytes)):
            opened.append(os.fsdecode(args[0]))

    sys.addaudithook(audit)
    for _ in range(2):
        with Store(db) as store:
            logger = StructuredLogger(store)
            logger.info("m1", "audit")
            logger.query_logs(search="m1")
            logger.cleanup(retention_days=0)
            pid = os.fork()
            if pid == 0:
                logger.info("m2", "audit")
                store.flush()
                bad = [path for path in opened if path in _database_files(db)]
                os._exit(1 if bad else 0)
            assert os.waitpid(pid, 0)[1] == 0
    with Store(db, read_only=True) as store:
        store.read(logs.count_logs)
    say(json.dumps([path for path in opened if path in _database_files(db)]))
    say(len([path for path in opened if "-ring-" in path]))


def _database_files(db: str) -> set[str]:
    return {db, f"{db}-wal", f"{db}-shm", f"{db}-journal"}


def many_threads(db: str, threads: str, count: str) -> None:
    """Log, query and flush from many threads at once."""
    store = Store(db)
    logger = StructuredLogger(store)

    def work(name: str) -> None:
        for number in range(int(count)):
            log(logger, f"m{name}-{number}")
            if number % 500 == 0:
                store.flush()

    for thread in start_threads(int(threads), work):
        thread.join()
    store.close()
    say(stats_of(store))


class Noisy:
    """Logs when it is destroyed, and is part of a cycle, so that the collector destroys it."""

    count = 0

    def __init__(self, logger: StructuredLogger) -> None:
        self.logger = logger
        self.itself = self

    def __del__(self) -> None:
        Noisy.count += 1
        self.logger.info(f"mdel-{Noisy.count}", "destructor", metadata={"n": [Noisy.count]})


def reenter(db: str, seconds: str) -> None:
    """Log from destructors run by the collector and from a 2 kHz signal, beside normal calls."""
    store = Store(db, ring_bytes=64 * 1024 * 1024)
    logger = StructuredLogger(store)
    heard = logger.on("log", lambda entry: None)
    calls = {"signal": 0, "main": 0}

    def on_alarm(number: int, frame: object) -> None:
        calls["signal"] += 1
        logger.info(f"msig-{calls['signal']}", "signal", metadata={"n": calls["signal"]})

    gc.set_threshold(5, 1, 1)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        calls["main"] += 1
        Noisy(logger)
        logger.info(f"mmain-{calls['main']}", "main", metadata={"list": [object(), {}, []]})
        if calls["main"] % 500 == 0:
            store.flush()
            logger.query_logs(limit=5)
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    logger.off("log", heard)
    store.close()
    say(json.dumps({**calls, "destructor": Noisy.count}))
    say(stats_of(store))


def batches(db: str, name: str, count: str) -> None:
    """One of several writing processes: so many batches of ten."""
    with Store(db) as store:
        logger = StructuredLogger(store)
        for batch in range(int(count)):
            for number in range(10):
                log(logger, f"m{name}-{batch}-{number}")
            assert store.flush()
        say(stats_of(store))


def open_at_once(db: str, name: str) -> None:
    """Wait for the starting gun, then open."""
    say("waiting")
    sys.stdin.readline()
    with Store(db) as store:
        log(StructuredLogger(store), f"m{name}")
        assert store.flush(), store.stats()


def at_exit(db: str) -> None:
    """Log in exit handlers registered before and after the store was opened."""
    logger: StructuredLogger
    daemon = threading.Thread(target=lambda: time.sleep(1000), daemon=True)
    daemon.start()
    # As if the library was imported only now: its handler has been registered with its import.
    atexit.unregister(store_module._at_exit)
    atexit.register(lambda: _log_many(logger, "before"))
    atexit.register(store_module._at_exit)
    logger = StructuredLogger(Store(db))
    atexit.register(lambda: _log_many(logger, "after"))
    _log_many(logger, "main")


def dies_after_a_fork(db: str) -> None:
    """Fork, record, and be killed; the forked child goes on and takes over what was left."""
    store = Store(db)
    logger = StructuredLogger(store, buffer_size=10**6, flush_interval_ms=10**8)
    log(logger, "mfirst")
    assert store.flush()
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)  # until the parent has died
        log(logger, "mchild")
        assert store.flush()
        say("done")
        os._exit(0)
    _log_many(logger, "parent")
    os.kill(os.getpid(), signal.SIGKILL)


def exit_when_told(db: str) -> None:
    """Record, and end on command, without a close."""
    logger = StructuredLogger(Store(db), buffer_size=10**6, flush_interval_ms=10**8)
    for number in range(1000):
        log(logger, f"m{number}")
    say("recorded")
    sys.stdin.readline()
    atexit.register(lambda: _log_many(logger, "late"))


def interrupted_exit(db: str) -> None:
    """Be interrupted while the exit waits for a locked database."""
    logger = StructuredLogger(Store(db))
    log(logger, "m1")
    say("exiting")


def interrupted_close(db: str) -> None:
    """Be interrupted while `close()` waits for a locked database, then close again."""
    store = Store(db)
    log(StructuredLogger(store), "m1")
    say("closing")
    interrupted = 0
    for _ in range(2):
        try:
            store.close()
        except KeyboardInterrupt:
            interrupted += 1
    say(f"interrupted {interrupted}")


def flood_at_exit(db: str) -> None:
    """End while daemon threads go on logging as fast as they can."""
    logger = StructuredLogger(Store(db), overflow="drop_newest")

    def flood(name: str) -> None:
        while True:
            logger.info(f"m{name}", "flood")

    start_threads(2, flood)
    time.sleep(0.3)
    logger.error("mlast", "child")  # for which the full ring has a reserve
    say("exiting")


def flood_and_end(db: str, how: str) -> None:
    """End in one of several ways while four daemon threads go on logging."""
    logger = StructuredLogger(Store(db), overflow="drop_newest")

    def flood(name: str) -> None:
        for number in itertools.count():
            logger.info(f"m{name}-{number}", "flood", metadata={"n": number})
            if number % 20 == 0:
                time.sleep(0.001)

    start_threads(4, flood)
    time.sleep(random.uniform(0, 0.2))
    logger.error("mlast", "child")
    say("ending")
    if how == "SIGTERM":
        signal.pause()
    elif how == "os._exit":
        os._exit(3)
    elif how == "sys.exit":
        sys.exit(3)
    elif how == "exception":
        raise RuntimeError("the engine's own trouble")


def no_threads(db: str) -> None:
    """Record where no thread can be started."""
    threading.stack_size(1 << 46)
    with Store(db) as store:
        logger = StructuredLogger(store)
        _log_many(logger, "a")
        assert store.flush()
        assert len(logger.query_logs(limit=None)) == 2000
        _log_many(logger, "b")


def limited_file_size(db: str, limit: str, when: str) -> None:
    """Record while no file may grow beyond a limit, until told that there is room again."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if when == "from the start":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
    store = Store(db)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
    logger = StructuredLogger(store)
    for number in range(500):
        log(logger, f"m{number} {'x' * 1000}")
    store.flush()
    say(stats_of(store))
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    started = time.monotonic()
    while store.stats().in_flight:
        time.sleep(0.01)
    say(time.monotonic() - started)
    say(stats_of(store))
    store.close()


def open_as(uid: str, db: str) -> None:
    """Open as another user."""
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    try:
        store = Store(db)
    except ax_monitor.StorageError as error:
        say(json.dumps({"error": str(error)}))
        return
    logger = StructuredLogger(store)
    logger.info("m-degraded", "child")
    result = {
        "flushed": store.flush(),
        "read": sorted(entry.message for entry in logger.query_logs()),
        "in_flight": store.stats().in_flight,
    }
    store.close()
    say(json.dumps(result))


def die_at_write(db: str, number: str) -> None:
    """Open a new database, and die at the n-th write or sync of SQLite."""
    from tests.faults.faulty_vfs import FaultyVFS

    vfs = FaultyVFS()
    vfs.faults.arm("xWrite", "xSync", "xTruncate", first=int(number))
    vfs.faults.lethal = True
    Store(db, vfs=vfs.vfs_name).close()


if __name__ == "__main__":
    limit, function, *arguments = sys.argv[1:]
    faulthandler.dump_traceback_later(float(limit), exit=True)
    globals()[function](*arguments)
