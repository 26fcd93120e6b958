# SPDX-License-Identifier: MIT
"""What is measured, what it is compared with, and what it shall reach: the one table of the report.

A row is one kind of work. Ours is a row of bonxie-bench, a peer's is `peer-NAME WORK WORKERS
SECONDS`; both do the same operation. A value is nanoseconds of one operation unless the row has
another unit, and less is better. A target is a limit on the ratio ours / theirs of one run.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A limit on ours / theirs."""

    limit: float
    against: tuple = ()  # names of peers, the best of them counts; () = all
    workers: tuple = ()  # of these worker counts; () = of all that the row has
    own: str = ""  # instead of peers: a row of bonxie-bench
    or_below: float = 0  # also met by a value below this, in the row's unit; 0 = no such way
    upper: float = 0  # a limit on the upper end of the ratio's interval as well; 0 = none
    is_below: bool = False  # the ratio has to be below the limit, not only at it


@dataclass(frozen=True)
class Row:
    name: str
    group: str
    title: str
    ours: str  # a row of bonxie-bench; {w} is the number of workers
    work: str = ""  # the peers' name of it; "" = peers have none
    workers: tuple = (1, 2)
    value: str = "real_time"  # what is compared: a time or a counter of our row
    peer_value: str = "wall"  # and of the peers': wall, cpu or tail
    unit: str = "ns"
    scale: float = 1  # our value is multiplied by it, to have the unit
    targets: tuple = ()
    is_slow: bool = False  # takes many seconds: not in a quick run
    timeout_s: float = 60


@dataclass(frozen=True)
class Bound:
    """A limit on a figure of ours alone."""

    name: str
    group: str
    title: str
    ours: str
    value: str
    limit: float
    unit: str
    is_slow: bool = False
    timeout_s: float = 60
    scale: float = 1  # the value is multiplied by it, to have the unit


@dataclass(frozen=True)
class Scaling:
    """How much faster two workers are than one: the ratio of the times, at least `least`."""

    name: str
    title: str
    ours: str
    least: float


TASKS = "Tasks"
TALK = "Channels, semaphores, locks"
FORKS = "Fork and join"
TIMERS = "Timers and sleeps"
WAKES = "Wakes across workers, work beside"
MEMORY = "Memory"
RUNTIME = "The runtime itself"
SCALING = "From one worker to two"
BARE = "Servers against bare loops"
PEERS = "Servers against peers"
PROGRAMS = "Programs"
REGRESSIONS = "Regressions of others"

ROWS = (
    Row("spawn_join", TASKS, "spawn and join one task", "BM_SpawnJoin/{w}", "spawn_join",
        targets=(Target(0.35),)),
    Row("spawn_1000", TASKS, "spawn 1000 tasks, join all", "BM_SpawnBatch/1000/{w}", "spawn_1000",
        targets=(Target(0.4),)),
    Row("yield_2", TASKS, "yield, 2 tasks", "BM_Yield/2/{w}", "yield_2",
        targets=(Target(0.5, ("libdill",), (1,)), Target(0.35, ("libfiber",)),
                 Target(3, workers=(1,), own="BM_Switch"))),
    Row("yield_1000", TASKS, "yield, 1000 tasks", "BM_Yield/1000/{w}", "yield_1000",
        targets=(Target(3, workers=(1,), own="BM_Switch"),)),
    Row("skynet_tasks", TASKS, "skynet, a million real tasks", "BM_SkynetTasks/{w}", "skynet_tasks",
        targets=(Target(0.11, ("tokio",)),)),
    Row("chan_hop", TALK, "channel hop, unbuffered", "BM_ChanPingPong/{w}", "chan_hop",
        targets=(Target(0.35, ("libdill",), (1,)), Target(0.35, ("libfiber",), (2,)))),
    Row("sem_hop", TALK, "semaphore hop", "BM_SemHop/{w}", "sem_hop",
        targets=(Target(0.35, ("libdill",), (1,)), Target(0.35, ("libfiber",), (2,)))),
    Row("mpmc", TALK, "channel item, 4 producers, 4 consumers, room for 128",
        "BM_ChanMpmc/4/4/128/{w}", "mpmc",
        targets=(Target(0.4, ("boost_fiber",), (1,)), Target(0.6, ("libfiber",), (2,)))),
    Row("mutex_1", TALK, "mutex, uncontended", "BM_MutexUncontended", "mutex_1", workers=(1,),
        targets=(Target(0.7, ("go",)),)),
    Row("mutex_16", TALK, "mutex, 16 tasks", "BM_MutexContended/16/{w}", "mutex_16",
        targets=(Target(0.4, ("go",), (2,), or_below=45),)),
    Row("mutex_yield", TALK, "mutex held over a yield, 4 tasks", "BM_MutexYieldInside/{w}",
        "mutex_yield", targets=(Target(0.3, ("libfiber",)),)),
    Row("fib", FORKS, "fork fib(30), a call", "BM_ForkFib/30/{w}", "fib",
        targets=(Target(1, ("libfork", "citor")),)),
    Row("skynet_forks", FORKS, "skynet as forks", "BM_SkynetForks/{w}", "skynet_forks",
        targets=(Target(1, ("libfork", "citor")),)),
    Row("timer_arm", TIMERS, "arm and cancel a timer", "BM_TimerStartStop/0", "timer_arm",
        workers=(1,), targets=(Target(0.7, ("libuv",)), Target(0.1, ("go", "tokio")))),
    Row("timer_arm_1m", TIMERS, "arm and cancel beside a million pending",
        "BM_TimerStartStop/1000000", "timer_arm_1m", workers=(1,),
        targets=(Target(0.7, ("libuv",)), Target(0.1, ("go", "tokio")))),
    Row("sleep_1m", TIMERS, "CPU of each of a million sleeps, stacks never used",
        "BM_Sleeps/slow/first/1000000", "sleep_1m", workers=(1,), peer_value="cpu", is_slow=True,
        timeout_s=120, targets=(Target(1),)),
    Row("sleep_1m_touched", TIMERS, "CPU of each of a million sleeps, stacks used before",
        "BM_Sleeps/slow/touched/1000000", "sleep_1m", workers=(1,), peer_value="cpu", is_slow=True,
        timeout_s=120, targets=(Target(0.6),)),
    Row("wake_hot", WAKES, "wake a task on a worker that spins", "BM_WorkerWake/hot", "wake_hot",
        workers=(2,), targets=(Target(0.5),)),
    Row("wake_parked", WAKES, "wake a task on a worker that sleeps", "BM_WorkerWake/parked",
        "wake_parked", workers=(2,), targets=(Target(1.15, own="BM_BareFutex"),)),
    Row("bounce_spin", WAKES, "two workers bounce a message, one way, with spin", "BM_Bounce/spin",
        "bounce", workers=(2,), targets=(Target(0.2, ("tokio",)),)),
    Row("bounce", WAKES, "two workers bounce a message, one way, without spin",
        "BM_Bounce/no_spin", "bounce", workers=(2,), targets=(Target(0.75, ("tokio",)),)),
    Row("stall_64", WAKES, "p99 of an echo beside 10 ms tasks, 64 % of a CPU",
        "BM_StallLoad/64", "stall_64", workers=(2,), value="p99_us", scale=1e3,
        targets=(Target(0.25, ("tokio",)),)),
    Row("stall_64_tail", WAKES, "p99.9 of an echo beside such tasks, 64 %", "BM_StallLoad/64",
        "stall_64", workers=(2,), value="p99.9_us", peer_value="tail", scale=1e3),
    Row("stall_160", WAKES, "p99 of an echo beside 10 ms tasks, 160 % of a CPU",
        "BM_StallLoad/160", "stall_160", workers=(2,), value="p99_us", scale=1e3,
        targets=(Target(0.25, ("tokio",)),)),
    Row("stall_160_tail", WAKES, "p99.9 of an echo beside such tasks, 160 %", "BM_StallLoad/160",
        "stall_160", workers=(2,), value="p99.9_us", peer_value="tail", scale=1e3),
    Row("idle_task", MEMORY, "resident bytes of a parked task, 64K stack class",
        "BM_IdleTaskMemory/100000", "idle_task", workers=(1,), value="bytes_parked", unit="bytes"),
)

# 4.4 KiB is 4505.6 bytes. Regression 17 is a message stuck behind a busy worker's next task: two of
# 200 may wait for the task that computes, when no other CPU was free. Regression 18 is one lock
# around all timers: see SCALINGS.
BOUNDS = (
    Bound("idle_parked", MEMORY, "a parked task of 100,000, resident", "BM_IdleTaskMemory/100000",
          "bytes_parked", 4505.6, "bytes"),
    Bound("idle_unstarted", MEMORY, "a task that has not started, resident",
          "BM_IdleTaskMemory/100000", "bytes_unstarted", 300, "bytes"),
    Bound("idle_million", MEMORY, "a parked task of a million, resident",
          "BM_IdleTaskMemory/slow/1000000", "bytes_parked", 4505.6, "bytes", is_slow=True,
          timeout_s=120),
    Bound("sleep_late", TIMERS, "lateness of a million sleeps, p99", "BM_Sleeps/slow/first/1000000",
          "late_p99_us", 1000, "us", is_slow=True, timeout_s=120),
    Bound("idle_wakes", RUNTIME, "wake-ups a second of an idle worker", "BM_IdleRuntime/2",
          "wakes_per_s", 5, "/s"),
    Bound("idle_cpu", RUNTIME, "CPU of an idle runtime of two workers", "BM_IdleRuntime/2",
          "cpu_percent", 0.2, "%"),
    Bound("start_stop", RUNTIME, "start and stop a runtime of two workers", "BM_RuntimeStartStop/2",
          "real_time", 1000, "us", scale=1e-3),
    Bound("library", RUNTIME, "libbonxie.so, stripped", "size", "bytes", 250_000, "bytes"),
    Bound("stuck", REGRESSIONS, "17: messages of 200 stuck behind a task that computes",
          "BM_StuckMessage/1000", "stuck", 2, ""),
)

# The limit is first: where plain threads do not reach it either, another program had the CPUs.
SCALINGS = (
    Scaling("scale_limit", "limit: the matrix product by plain threads", "BM_BareMatmul/256/{w}",
            1.8),
    Scaling("scale_fib", "fork fib(30)", "BM_ForkFib/30/{w}", 1.8),
    Scaling("scale_skynet_forks", "skynet as forks", "BM_SkynetForks/{w}", 1.8),
    Scaling("scale_skynet_tasks", "skynet as tasks", "BM_SkynetTasks/{w}", 1.8),
    Scaling("scale_nqueens", "nqueens(12)", "BM_NqueensForks/12/{w}", 1.8),
    Scaling("scale_matmul", "matrix product, 256", "BM_Matmul/256/{w}", 1.8),
    Scaling("scale_quicksort", "quicksort of a million", "BM_Quicksort/1000000/{w}", 1.8),
    Scaling("scale_spawn_1000", "spawn 1000 empty tasks", "BM_SpawnBatch/1000/{w}", 1.2),
    Scaling("scale_timers", "18: a million timers armed and cancelled by all workers",
            "BM_TimerStorm/{w}", 1),
)

# ---- Peers that Debian has not ----


@dataclass(frozen=True)
class Elsewhere:
    """Figures of another machine of this kind, all of one sitting. They are multiplied by what the
    reference costs now over what it cost there; with no reference they are taken as they are."""

    reference: str  # a peer that is measured here as well; see reference_side
    work: str  # its work here
    there: dict  # workers -> its figure there
    peers: dict  # name -> workers -> figure there


ELSEWHERE_SOURCE = (
    "Measured on another machine of this kind (2 vCPU guest, Debian 12, Linux 6.18), medians of "
    "five or six alternating runs of one sitting, in nanoseconds; here multiplied by (Tokio 1.24 "
    "now / Tokio 1.24 there), fork and join by oneTBB's. Tokio there was multi_thread on one "
    "worker too, so that the one here is tokio-multi, not the faster current_thread. Bytes are as "
    "they were.")

# Another way to run a peer, a competitor of its own: name -> (peer, the words before its command).
FLAVOURS = {"tokio-multi": ("tokio", ("env", "PEER_TOKIO_MULTI_THREAD=1"))}


def reference_side(known, workers):
    """Which competitor has a reference's part: the flavour that was measured there."""
    return "tokio-multi" if known.reference == "tokio" and workers == 1 else known.reference


def _pair(one, two=None):
    return {1: one} if two is None else {1: one, 2: two}


ELSEWHERE = {
    "spawn_join": Elsewhere("tokio", "spawn_join", _pair(241, 281), {
        "libdill": _pair(131), "neco": _pair(128), "libfiber": _pair(401, 466),
        "photon": _pair(417), "may": _pair(1938, 11272)}),
    "spawn_1000": Elsewhere("tokio", "spawn_1000", _pair(337, 499), {
        "libdill": _pair(111), "neco": _pair(143), "libfiber": _pair(2460, 2245),
        "photon": _pair(205), "may": _pair(2125, 2730)}),
    "yield_2": Elsewhere("tokio", "yield_2", _pair(339, 177), {
        "libdill": _pair(36), "neco": _pair(90), "libfiber": _pair(50, 29),
        "photon": _pair(84, 70), "may": _pair(89, 50)}),
    "chan_hop": Elsewhere("tokio", "chan_hop", _pair(211, 247), {
        "libdill": _pair(93), "neco": _pair(170), "libfiber": _pair(136, 136),
        "photon": _pair(152, 484), "may": _pair(347, 361)}),
    # Nobody measured Tokio's semaphore there; its channel's hop is the nearest.
    "sem_hop": Elsewhere("tokio", "chan_hop", _pair(211, 247), {
        "libdill": _pair(89), "neco": _pair(361), "libfiber": _pair(138, 141),
        "photon": _pair(307)}),
    # Tokio's own channel there, its receiver behind a mutex.
    "mpmc": Elsewhere("tokio", "mpmc_mutex", _pair(366, 834), {
        "libdill": _pair(94), "neco": _pair(212), "libfiber": _pair(55, 64),
        "photon": _pair(102), "may": _pair(76, 107)}),
    "mutex_16": Elsewhere("tokio", "mutex_16", _pair(68, 240), {
        "neco": _pair(40), "libfiber": _pair(25, 26), "photon": _pair(45, 132),
        "may": _pair(43, 361)}),
    "mutex_yield": Elsewhere("tokio", "mutex_yield", _pair(745, 728), {
        "neco": _pair(611), "libfiber": _pair(256, 277), "photon": _pair(1336, 1139),
        "may": _pair(450, 455)}),
    "skynet_tasks": Elsewhere("tokio", "skynet_tasks", _pair(533, 775), {
        "libfiber": _pair(3060, 1243), "photon": _pair(10512)}),
    # fib(35) there: a call costs the same.
    "fib": Elsewhere("tbb", "fib", _pair(103.6, 54.3), {
        "libfork": _pair(21.1, 10.7), "citor": _pair(28.9, 16.7),
        "toomanycooks": _pair(34.4, 20.5)}),
    "skynet_forks": Elsewhere("tbb", "skynet_forks", _pair(89.6, 42.6), {
        "libfork": _pair(28.7, 14.5), "citor": _pair(17.1, 23.6),
        "toomanycooks": _pair(36.9, 20.4)}),
    "timer_arm": Elsewhere("tokio", "timer_arm", _pair(245), {"bthread": _pair(193)}),
    "timer_arm_1m": Elsewhere("tokio", "timer_arm_1m", _pair(427), {"bthread": _pair(173)}),
    "wake_hot": Elsewhere("tokio", "wake_hot", {2: 4700}, {"bthread": {2: 1500}}),
    "wake_parked": Elsewhere("tokio", "wake_parked", {2: 19400}, {"bthread": {2: 3100}}),
    "bounce": Elsewhere("tokio", "bounce", {2: 10000}, {"photon": {2: 10200}}),
    "idle_task": Elsewhere("", "", {}, {"libfiber": _pair(4593), "photon": _pair(8592)}),
}

# ---- Servers ----


@dataclass(frozen=True)
class Server:
    name: str
    kind: str  # ours, again (ourselves once more), spin (ours as it comes), bare, peer
    commands: dict  # protocol -> words; {bin}, {port}, {workers}, {protocol}, {dir}
    environment: tuple = ()  # of pairs
    template: str = ""  # a configuration file in bench/peers, filled in and put into {dir}
    connections: tuple = ()  # only these; () = all
    workers: tuple = (1, 2)


def _ours(name, kind, **more):
    listen = ["--listen", "127.0.0.1:{port}", "--workers", "{workers}"]
    commands = {"echo": ["{bin}/echo", *listen], "http": ["{bin}/httpd", *listen]}
    return Server(name, kind, commands, **more)


def _command(program):
    return ["{bin}/" + program, "{protocol}", "--listen", "127.0.0.1:{port}",
            "--workers", "{workers}"]


def _bare(program):
    return Server(program, "bare", dict.fromkeys(("echo", "http"), _command(program)))


def _peer(name, protocols=("echo", "http")):
    return Server(name, "peer", dict.fromkeys(protocols, _command("peer-" + name)))


SERVERS = (
    _ours("bonxie", "ours", environment=(("BONXIE_SPIN_US", "0"),)),
    _ours("again", "again", environment=(("BONXIE_SPIN_US", "0"),)),
    _ours("bonxie-spin", "spin", connections=(1,)),
    _bare("bare-epoll"),
    _bare("bare-ring"),
    _bare("bare-multishot"),
    _peer("libuv"),
    _peer("asio"),
    _peer("tokio"),
    _peer("go"),
    _peer("asyncio", ("echo",)),
    Server("nginx", "peer",
           {"http": ["nginx", "-p", "{dir}", "-c", "{dir}/nginx.conf", "-e", "stderr"]},
           template="nginx/nginx.conf.in"),
)

CONNECTIONS = (1, 64, 512, 1000)
PROTOCOLS = ("echo", "http")
SERVER_WORKERS = (1, 2)

BARE_TARGET = Target(1.03, upper=1.06)
BARE_TARGET_ONE = Target(1.05)  # one connection
PEER_TARGET = Target(1, is_below=True)
SPIN_TARGET = Target(0.8)  # p50 with the spin that comes by default
SHARING_TARGET = Target(1)  # CPU per request of two workers over that of one, 1000 connections
PROGRAM_TARGET = Target(1)

# The curve of latency against arrivals: 64 connections, one worker, echo.
CURVE_SERVERS = ("bonxie", "bonxie-spin", "bare-epoll", "libuv", "tokio", "go")
CURVE_CONNECTIONS = 64
CURVE_PARTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of what bare-epoll can do
