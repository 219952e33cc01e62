#!/usr/bin/env python3
"""Start and stop a small Slurm cluster on this machine, for tests.

Two nodes of 16 CPUs, 64 GB and 2 pretended GPUs each, in the partitions `cpu` (the default) and `gpu`, out of
Debian's Slurm 22.05. All daemons belong to the user who starts them, listen on loopback alone, and keep all their
files in one folder, so that clusters in several folders run side by side:

    bin/            Slurm's commands, each with this cluster's SLURM_CONF: the first folder on PATH
    slurm.conf      and gres.conf, cgroup.conf, slurmdbd.conf
    log/            of every daemon, and jobcomp.txt: one line a job that ended
    cluster.json    settings, ports and processes
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pwd
import random
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

NODES = ("node1", "node2")
GPUS = ("nvidia0", "nvidia1")
# More than the machine may have, so that what real profiles ask for is granted.
NODE = "CPUs=16 RealMemory=64000 Gres=gpu:a100:2"

# Debian's package of each program, with the daemons first.
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sinfo": "slurm-wlm",
}
ACCOUNTING_PACKAGES = {
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "sacctmgr": "slurm-wlm",
}
# Debian's daemons are in folders that an ordinary user's PATH lacks.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
CLIENTS = (
    *("sacct", "sacctmgr", "salloc", "sattach", "sbatch", "sbcast", "scancel", "scontrol", "sdiag", "sinfo"),
    *("sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger"),
)

# Lines of their own in slurm.conf, or what this script relies on.
FIXED = {"nodename", "partitionname", "clustername", "slurmctldport", "slurmctldhost", "slurmuser", "slurmduser"}
# Where root can hold jobs to their memory. Slurm has slurm_NODE/uid_USER/job_JOB in it, whatever the cluster.
MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")
# Below the ports that the kernel hands out to connections.
PORTS = range(18_000, 32_000)
# Bytes in the path of a Unix socket, less its closing zero, and the longest name below the folder:
# node1/node1_JOB.STEP, where a job has up to 8 digits and a batch step 10.
SOCKET_PATH = 107
SOCKET_NAME = len("/node1/node1_67108863.4294967291")

JOBS = 10_000  # before their numbers may meet those of another cluster
STARTING = 60  # seconds
STOPPING = 10

# Some MB of memory and disk instead of hundreds, and no requests to the kernel that a busy machine may refuse.
SMALL_DATABASE = (
    *("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--innodb-use-native-aio=0"),
    *("--innodb-flush-log-at-trx-commit=0", "--performance-schema=off", "--key-buffer-size=1M"),
)
DATABASE_TRIES = 3

# Daemons that this process started, by number: it has to collect them when they end.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


class ClusterError(Exception):
    """What keeps the cluster from running, and how to mend it."""


class SlurmCluster:
    """A cluster in a folder.

    Parameters
    ----------
    folder
        All of the cluster's files; made when missing. Its absolute path may have 75 bytes, for Unix sockets.
    """

    def __init__(self, folder: str | Path = "build/test_cluster") -> None:
        self.folder = Path(folder).resolve()

    # --- what callers use -------------------------------------------------------------------------------------

    def start(self, *, accounting: bool = False, settings: Mapping[str, str] | None = None) -> bool:
        """Start what does not run, and wait until both nodes take jobs.

        Parameters
        ----------
        accounting
            Run MariaDB and slurmdbd, so that `sacct` works.
        settings
            Keys of slurm.conf to override.

        Returns
        -------
        Whether anything had to be started.

        Raises
        ------
        ClusterError
            When something is not installed or does not come up, or the cluster runs with other settings. What was
            started by this call is stopped again.
        """
        wanted = {"accounting": accounting, "settings": dict(settings or {})}
        check_settings(wanted["settings"])
        self._check_folder()
        find_programs(accounting)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            running = self._running()
            record = self._record()
            if running and record["wanted"] != wanted:
                raise ClusterError(
                    f"the cluster in {self.folder} runs with other settings ({describe(record['wanted'])}, not "
                    f"{describe(wanted)}): stop it first, by {command('stop', self.folder)}"
                )
            if not running:
                self._clear()
                record |= {"wanted": wanted, "ports": free_ports(), "pids": {}}
                self._save(record)
                self._write_files(record)
            missing = [name for name in self._daemons(record) if name not in running]
            self._launch_all(missing, record)
            return bool(missing)

    def stop(self) -> bool:
        """Stop all daemons and kill what is left of jobs; whether anything ran."""
        if not self.folder.is_dir():
            return False
        with self._locked():
            ran = self._running()
            self._stop_daemons(ran)
            left = self._clear()
            return bool(ran) or left

    def status(self) -> dict[str, Any]:
        """What runs: `running`, and `accounting`, `settings`, `ports`, `pids` and `nodes` (name to state)."""
        record = self._record()
        running = self._running()
        whole = bool(running) and set(running) == set(self._daemons(record))
        nodes = self._node_states() if "slurmctld" in running else {}
        return {"running": whole, **record["wanted"], "ports": record["ports"], "pids": running, "nodes": nodes}

    def environment(self) -> dict[str, str]:
        """PATH and SLURM_CONF for the cluster's users."""
        paths = [str(self.folder / "bin"), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
        return {"PATH": os.pathsep.join(dict.fromkeys(paths)), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def kill_node(self, node: str) -> int:
        """Kill a node's slurmd, its slurmstepds and its jobs, as a power cut would; how many processes."""
        check_node(node)
        with self._locked():
            pid = self._running().get(node)
            daemon = [] if pid is None else [pid]
            kill(daemon, signal.SIGKILL)
            return len(daemon) + self._kill_jobs([node])

    def start_node(self, node: str) -> bool:
        """Start a node's slurmd and wait until it takes jobs; whether it had to be started."""
        check_node(node)
        with self._locked():
            if node in self._need_controller():
                return False
            self._launch_all([node], self._record())
            return True

    def restart_controller(self) -> None:
        """Stop slurmctld and start it again; jobs go on, and its state is kept."""
        with self._locked():
            running = self._need_controller()
            self._stop_daemons({"slurmctld": running["slurmctld"]})
            self._launch_all(["slurmctld"], self._record())

    # --- daemons ----------------------------------------------------------------------------------------------

    def _daemons(self, record: Mapping[str, Any]) -> dict[str, list[str]]:
        """Command lines by name, in the order of starting. The first word is a program."""
        folder, ports = self.folder, record["ports"]
        munge = folder / "munge"
        daemons = {
            "munged": [
                *("munged", "--foreground", "--force", "--origin=127.0.0.1", f"--key-file={munge}/key"),
                *(f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed"),
                f"--log-file={folder}/log/munged.log",
            ]
        }
        if record["wanted"]["accounting"]:
            daemons["mariadbd"] = [
                *("mariadbd", "--no-defaults", *as_root("--user=root"), f"--datadir={folder}/database"),
                *("--bind-address=127.0.0.1", f"--port={ports['mariadbd']}", f"--socket={folder}/mariadb.socket"),
                *(f"--pid-file={folder}/mariadb.pid", f"--init-file={folder}/mariadb.sql", "--skip-log-bin"),
                *("--skip-name-resolve", "--max-connections=50", "--innodb-lock-wait-timeout=900"),
                *SMALL_DATABASE,
            ]
            daemons["slurmdbd"] = ["slurmdbd", "-D"]
        daemons["slurmctld"] = ["slurmctld", "-D", "-f", f"{folder}/slurm.conf"]
        for node in NODES:
            daemons[node] = ["slurmd", "-D", "-N", node, "-f", f"{folder}/slurm.conf"]
        return daemons

    def _launch_all(self, names: Sequence[str], record: dict[str, Any]) -> None:
        """Start daemons and wait for them; stop them again when one does not come up."""
        try:
            for name in names:
                self._launch(name, record)
            for node in [node for node in NODES if node in self._running()]:
                self._await(node, lambda node=node: self._node_is_up(node))
        except BaseException:
            self._stop_daemons({name: pid for name, pid in self._running().items() if name in names})
            raise

    def _launch(self, name: str, record: dict[str, Any]) -> None:
        """Start one daemon, and wait until it answers."""
        if name == "mariadbd":
            self._make_database()
        if name in NODES:
            self._give_up_jobs(name)
        argv = self._daemons(record)[name]
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        with (self.folder / f"log/{name}.out").open("wb") as out:
            process = subprocess.Popen(
                argv,
                executable=find_program(argv[0]),
                cwd=self.folder,
                env=environ | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _CHILDREN[process.pid] = process
        record["pids"][name] = process.pid
        self._save(record)
        self._await(name, lambda: self._answers(name, record))
        if name == "slurmdbd":
            self._register()

    def _answers(self, name: str, record: Mapping[str, Any]) -> bool:
        """Whether a daemon takes connections."""
        if name == "munged":
            return answers(self.folder / "munge/socket")
        return listens(record["ports"][name])

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait for a daemon; say why where it ended, or does not become ready."""
        end = time.monotonic() + STARTING
        while not ready():
            if name not in self._running():
                raise ClusterError(f"{name} ended instead of starting\n{self._tail(name)}")
            if time.monotonic() > end:
                raise ClusterError(f"{name} is not ready after {STARTING} s\n{self._tail(name)}")
            time.sleep(0.05)

    def _tail(self, name: str, lines: int = 15) -> str:
        """End of a daemon's log, under its name."""
        logs = [path for ending in ("log", "out") if (path := self.folder / f"log/{name}.{ending}").is_file()]
        log = next((path for path in reversed(logs) if path.stat().st_size), None)
        if log is None:
            return f"and left no log in {self.folder}/log"
        return "\n".join([f"{log}:", *log.read_text(errors="replace").splitlines()[-lines:]])

    def _stop_daemons(self, pids: Mapping[str, int]) -> None:
        """Stop daemons, the last started first; those that stay are killed."""
        for name in reversed(list(pids)):
            kill([pids[name]], signal.SIGTERM)
            if not wait_until(lambda name=name: name not in self._running(), STOPPING):
                kill([pids[name]], signal.SIGKILL)
                wait_until(lambda name=name: name not in self._running(), STOPPING)

    def _running(self) -> dict[str, int]:
        """Process of each daemon that runs, in the order of starting."""
        record = self._record()
        return {
            name: pid
            for name, argv in (self._daemons(record) if record["pids"] else {}).items()
            if (pid := record["pids"].get(name)) and self._is_daemon(name, pid, argv[0])
        }

    def _is_daemon(self, name: str, pid: int, program: str) -> bool:
        """Whether a process is a daemon of this cluster, and not another that was given its number."""
        if pid in _CHILDREN and _CHILDREN[pid].poll() is None:
            return True
        _CHILDREN.pop(pid, None)
        where = Path(link(f"/proc/{pid}/cwd"))
        words = command_line(pid)
        named = words[:1] == [program] and (name not in NODES or name in words)
        return named and where in (self.folder, self.folder / "database")

    # --- jobs and nodes ---------------------------------------------------------------------------------------

    def _kill_jobs(self, nodes: Iterable[str]) -> int:
        """Kill the slurmstepds and job processes of nodes; how many."""
        killed: set[int] = set()
        while left := {pid for node in nodes for pid in self._job_processes(node)} - killed:
            kill(left, signal.SIGKILL)
            killed |= left
        return len(killed)

    def _job_processes(self, node: str) -> set[int]:
        """A node's slurmstepds and all that they started.

        A slurmstepd holds its node's log open. What it started has it as an ancestor or, once it is dead, the
        names of cluster and node in its environment.
        """
        log = f"{self.folder}/log/{node}.log"
        marks = {f"SLURM_CONF={self.folder}/slurm.conf", f"SLURMD_NODENAME={node}"}
        parents = {pid: parent for pid in processes() if (parent := parent_of(pid)) is not None}
        found = {pid for pid in parents if is_slurmstepd(pid) and log in open_files(pid)}
        found |= {pid for pid in parents if marks <= environment_of(pid)}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {os.getpid()}

    def _node_is_up(self, node: str) -> bool:
        """Whether a node takes jobs."""
        return self._node_states().get(node) in ("idle", "mixed", "allocated")

    def _node_states(self) -> dict[str, str]:
        """State of each node, as sinfo gives it: with * where the node does not answer."""
        shown = self._call("sinfo", "--Node", "--noheader", "--partition=cpu", "--format=%N %T")
        return dict(line.split() for line in shown.stdout.splitlines())

    def _give_up_jobs(self, node: str) -> None:
        """Have slurmctld end what it believes to run on a node, as when a machine boots again.

        The node is down until its slurmd answers.
        """
        done = self._call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=starts again")
        if done.returncode:
            raise ClusterError(f"scontrol cannot change {node}: {done.stdout}{done.stderr}")

    def _need_controller(self) -> dict[str, int]:
        """What runs, slurmctld for one."""
        running = self._running()
        if "slurmctld" not in running:
            raise ClusterError(f"no cluster runs in {self.folder}: start one, by {command('start', self.folder)}")
        return running

    def _register(self) -> None:
        """Make the cluster known to slurmdbd."""
        if not self._call("sacctmgr", "-n", "list", "cluster").stdout.strip():
            added = self._call("sacctmgr", "-i", "add", "cluster", "test")
            if added.returncode:
                raise ClusterError(f"sacctmgr cannot add the cluster: {added.stdout}{added.stderr}")

    def _call(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands."""
        environ = os.environ | self.environment()
        return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=STARTING)

    # --- files ------------------------------------------------------------------------------------------------

    def _check_folder(self) -> None:
        name = str(self.folder)
        if not re.fullmatch(r"[\w./+@~-]+", name, re.ASCII):
            raise ClusterError(f"slurm.conf cannot name the folder {name!r}: take one without blanks")
        if len(name) + SOCKET_NAME > SOCKET_PATH:
            raise ClusterError(
                f"the path of the folder {name} has {len(name)} bytes: Unix sockets in it leave "
                f"{SOCKET_PATH - SOCKET_NAME}; take a shorter one"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one call at a time changes the cluster."""
        if not self.folder.is_dir():
            raise ClusterError(f"no cluster is in {self.folder}: start one, by {command('start', self.folder)}")
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _record(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "cluster.json").read_text())
        except FileNotFoundError:
            # Clusters share the names of control groups, so that their jobs may not have the same numbers.
            first_job = random.randrange(1, 6000) * JOBS
            return {
                "wanted": {"accounting": False, "settings": {}},
                "ports": {},
                "pids": {},
                "first_job": first_job,
            }

    def _save(self, record: Mapping[str, Any]) -> None:
        whole = self.folder / "cluster.json"
        part = whole.with_suffix(".tmp")
        part.write_text(json.dumps(record, indent=2) + "\n")
        part.replace(whole)

    def _clear(self) -> bool:
        """Kill what is left of jobs, and remove what only runs need; whether there were jobs."""
        left = self._kill_jobs(NODES)
        record = self._record()
        remove_cgroups(range(record["first_job"], record["first_job"] + JOBS))
        self._save(record | {"pids": {}})
        for name in ("mariadb.socket", "mariadb.pid", *(f"{name}.pid" for name in NODES)):
            (self.folder / name).unlink(missing_ok=True)
        for name in ("socket", "socket.lock", "pid"):
            (self.folder / "munge" / name).unlink(missing_ok=True)
        return bool(left)

    def _write_files(self, record: Mapping[str, Any]) -> None:
        """Write all files but the database's."""
        folder = self.folder
        for name in ("bin", "dev", "log", "munge", "controller", *NODES):
            (folder / name).mkdir(exist_ok=True)
        (folder / "munge").chmod(0o700)
        write_private(folder / "munge/key", secrets.token_bytes(128))
        for name in GPUS:
            (folder / "dev" / name).unlink(missing_ok=True)
            (folder / "dev" / name).symlink_to("/dev/null")
        for name in CLIENTS:
            self._write_client(name)
        (folder / "slurm.conf").write_text(slurm_conf(folder, record))
        (folder / "gres.conf").write_text(
            f"NodeName={','.join(NODES)} Name=gpu Type=a100 File={folder}/dev/nvidia[0-1]\n"
        )
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n")
        if record["wanted"]["accounting"]:
            self._write_accounting(record["ports"])

    def _write_client(self, name: str) -> None:
        """Put one of Slurm's commands in bin/: some programs, such as Snakemake in a job, drop SLURM_CONF."""
        program = shutil.which(name, path=search_path())
        if program is not None:
            script = self.folder / "bin" / name
            script.write_text(
                f'#!/bin/sh\nexport SLURM_CONF={self.folder}/slurm.conf\nexec {shlex.quote(program)} "$@"\n'
            )
            script.chmod(0o755)

    def _write_accounting(self, ports: Mapping[str, int]) -> None:
        password = secrets.token_hex(16)
        user = "'slurm'@'127.0.0.1'"
        sql = (
            f"CREATE DATABASE IF NOT EXISTS slurm;\nCREATE OR REPLACE USER {user} IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON slurm.* TO {user};\n"
        )
        write_private(self.folder / "mariadb.sql", sql.encode())
        write_private(self.folder / "slurmdbd.conf", slurmdbd_conf(self.folder, ports, password).encode())

    def _make_database(self) -> None:
        """Make MariaDB's own tables, once."""
        folder, part = self.folder / "database", self.folder / "database.tmp"
        if folder.is_dir():
            return
        log = self.folder / "log/mariadb-install-db.out"
        argv = [
            *(find_program("mariadb-install-db"), "--no-defaults", f"--datadir={part}", "--skip-test-db"),
            *(*as_root("--user=root"), f"--auth-root-socket-user={user_name()}", *SMALL_DATABASE),
        ]
        for _ in range(DATABASE_TRIES):
            shutil.rmtree(part, ignore_errors=True)
            with log.open("ab") as out:
                made = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
            if not made.returncode:
                break
        else:
            # Its last lines are advice; what went wrong stands before them.
            raise ClusterError(f"the database cannot be made\n{self._tail('mariadb-install-db', 200)}")
        part.rename(folder)


# --- configuration --------------------------------------------------------------------------------------------


def slurm_conf(folder: Path, record: Mapping[str, Any]) -> str:
    """Text of slurm.conf."""
    ports, wanted = record["ports"], record["wanted"]
    values = {
        "ClusterName": "test",
        "SlurmctldHost": f"localhost({own_address()})",
        "SlurmctldPort": ports["slurmctld"],
        "SlurmUser": user_name(),
        "SlurmdUser": user_name(),
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/socket",
        "CredType": "cred/munge",
        **address_settings(),
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "SwitchType": "switch/none",
        "ProctrackType": "proctrack/linuxproc",
        "SlurmctldPidFile": f"{folder}/slurmctld.pid",
        "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
        "SlurmdPidFile": f"{folder}/%n.pid",
        "SlurmdLogFile": f"{folder}/log/%n.log",
        "SlurmdSpoolDir": f"{folder}/%n",
        "StateSaveLocation": f"{folder}/controller",
        "SlurmdParameters": "config_overrides",
        "ReturnToService": 2,
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "sched_interval=5,bf_interval=5,sched_min_interval=0,batch_sched_delay=0",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": 500,
        "MinJobAge": 600,
        "SlurmctldTimeout": 20,
        "SlurmdTimeout": 20,
        "KillWait": 2,
        "JobRequeue": 0,
        "GresTypes": "gpu",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "FirstJobId": record["first_job"],
        **memory_settings(),
        "JobCompType": "jobcomp/filetxt",
        "JobCompLoc": f"{folder}/log/jobcomp.txt",
        **accounting_settings(folder, ports, wanted["accounting"]),
    }
    given = {key.lower(): value for key, value in wanted["settings"].items()}
    lines = [f"{key}={given.pop(key.lower(), value)}" for key, value in values.items()]
    lines += [f"{key}={value}" for key, value in given.items()]
    for node in NODES:
        lines.append(f"NodeName={node} NodeHostname=localhost NodeAddr={own_address()} Port={ports[node]} {NODE}")
    lines.append(f"PartitionName=cpu Nodes={','.join(NODES)} Default=YES MaxTime=1-0 DefaultTime=10 State=UP")
    lines.append(f"PartitionName=gpu Nodes={','.join(NODES)} MaxTime=1-0 State=UP")
    return "\n".join(lines) + "\n"


def own_address() -> str:
    """Address of Slurm's daemons."""
    return named_loopback() or "127.0.0.1"


def address_settings() -> dict[str, str]:
    """Keys that make Slurm listen on loopback alone.

    It can be told to listen at the address of the machine's name, and at no other: where that leads out of the
    machine or nowhere, Slurm listens everywhere. Without munge's key, its daemons refuse what comes.
    """
    return {"CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny"} if named_loopback() else {}


def named_loopback() -> str | None:
    """Address that the machine's name leads to, where it is one of loopback: Debian has 127.0.1.1."""
    with suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
        return address if address.startswith("127.") else None
    return None


def memory_settings() -> dict[str, str]:
    """Keys of slurm.conf that kill jobs which take more memory than they asked for.

    By a control group, a job ends as OUT_OF_MEMORY at once, or as FAILED where a step within it was killed.
    Without one, memory is looked at once a second, and a job ends as FAILED.
    """
    if has_memory_cgroup():
        return {"TaskPlugin": "task/cgroup"}
    return {"TaskPlugin": "task/none", "JobAcctGatherParams": "OverMemoryKill"}


def accounting_settings(folder: Path, ports: Mapping[str, int], accounting: bool) -> dict[str, Any]:
    """Keys of slurm.conf that say where jobs are accounted for."""
    if not accounting:
        return {"AccountingStorageType": "accounting_storage/none"}
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": own_address(),
        "AccountingStoragePort": ports["slurmdbd"],
        "AccountingStoragePass": f"{folder}/munge/socket",
        "AccountingStorageTRES": "gres/gpu",
        "AccountingStoreFlags": "job_comment",
    }


def slurmdbd_conf(folder: Path, ports: Mapping[str, int], password: str) -> str:
    """Text of slurmdbd.conf."""
    values = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/socket",
        "DbdHost": "localhost",
        "DbdAddr": own_address(),
        **address_settings(),
        "DbdPort": ports["slurmdbd"],
        "SlurmUser": user_name(),
        "LogFile": f"{folder}/log/slurmdbd.log",
        "PidFile": f"{folder}/slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": ports["mariadbd"],
        "StorageLoc": "slurm",
        "StorageUser": "slurm",
        "StoragePass": password,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def check_settings(settings: Mapping[str, str]) -> None:
    """Refuse keys of slurm.conf that make the cluster what it is."""
    for key in settings:
        if key.lower() in FIXED:
            raise ClusterError(f"{key} of slurm.conf cannot be overridden here")


def check_node(node: str) -> None:
    """Refuse the name of no node."""
    if node not in NODES:
        raise ClusterError(f"{node} is no node: take one of {', '.join(NODES)}")


def describe(wanted: Mapping[str, Any]) -> str:
    """Settings as a user gives them."""
    given = [*(["--accounting"] if wanted["accounting"] else [])]
    given += [f"--set {key}={value}" for key, value in wanted["settings"].items()]
    return " ".join(given) or "no options"


def command(verb: str, folder: Path) -> str:
    """A call of this script, to show in a message."""
    return f"`scripts/test_cluster {verb} --folder {folder}`"


def user_name() -> str:
    """Name of the user whose cluster it is: Slurm starts jobs only for users with a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise ClusterError(f"user {os.getuid()} has no name in /etc/passwd, which Slurm needs: add one") from None


def as_root(*arguments: str) -> tuple[str, ...]:
    """Arguments for root alone."""
    return arguments if os.getuid() == 0 else ()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


# --- programs, ports, processes -------------------------------------------------------------------------------


def search_path() -> str:
    """PATH with the folders of daemons, and without those of other clusters of this script."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *SYSTEM_FOLDERS]
    return os.pathsep.join(folder for folder in folders if not Path(folder, "../cluster.json").exists())


def find_program(name: str) -> str | None:
    """Path of an installed program."""
    return shutil.which(name, path=search_path())


def missing_programs(accounting: bool) -> dict[str, str]:
    """What is not installed, and its package in Debian."""
    needed = PACKAGES | (ACCOUNTING_PACKAGES if accounting else {})
    return {name: package for name, package in needed.items() if find_program(name) is None}


def find_programs(accounting: bool) -> None:
    """Say what is not installed."""
    missing = missing_programs(accounting)
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise ClusterError(
            f"not installed: {', '.join(missing)}. On Debian: apt-get install --no-install-recommends {packages}"
        )


def free_ports() -> dict[str, int]:
    """A free port for each daemon that takes one."""
    names = ["slurmctld", "slurmdbd", "mariadbd", *NODES]
    ports: dict[str, int] = {}
    with ExitStack() as held:
        for port in random.sample(PORTS, len(PORTS)):
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("", port))
            except OSError:
                continue
            ports[names[len(ports)]] = port
            if len(ports) == len(names):
                return ports
    raise ClusterError(f"no free ports from {PORTS.start} to {PORTS.stop}")


def listens(port: int) -> bool:
    """Whether a port of IPv4 is listened to; no connection is made, which daemons would complain of."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def answers(path: Path) -> bool:
    """Whether a Unix socket takes connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def kill(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes that may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def has_memory_cgroup() -> bool:
    """Whether Slurm can make control groups of version 1 for memory."""
    return os.getuid() == 0 and (MEMORY_CGROUP / "release_agent").exists() and os.access(MEMORY_CGROUP, os.W_OK)


def remove_cgroups(jobs: range) -> None:
    """Remove the control groups of jobs that were killed, and those above them that are empty then."""
    left = [path for path in MEMORY_CGROUP.glob("slurm_node*/uid_*/job_*") if int(path.name[4:]) in jobs]
    for job in left:
        for path in sorted((path for path in job.rglob("*") if path.is_dir()), reverse=True):
            remove_cgroup(path)
        remove_cgroup(job)
    for path in (*MEMORY_CGROUP.glob("slurm_node*/uid_*"), *MEMORY_CGROUP.glob("slurm_node*")):
        with suppress(OSError):  # another cluster's
            path.rmdir()


def remove_cgroup(path: Path) -> None:
    """Remove a control group, once the processes that were killed in it are gone."""

    def gone() -> bool:
        with suppress(OSError):
            path.rmdir()
        return not path.exists()

    wait_until(gone, seconds=2)


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; whether it came true."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def processes() -> list[int]:
    """Numbers of all processes."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def read_process(pid: int, name: str) -> str:
    """A file of a process in /proc; empty when it is gone or another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="surrogateescape")
    except OSError:
        return ""


def link(path: str | Path) -> str:
    """Where a link of /proc leads; empty when it is gone or another user's."""
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def command_line(pid: int) -> list[str]:
    """A process's words; none when it has ended."""
    return read_process(pid, "cmdline").split("\0")[:-1]


def environment_of(pid: int) -> set[str]:
    """A process's environment as `KEY=value`."""
    return set(read_process(pid, "environ").split("\0"))


def parent_of(pid: int) -> int | None:
    """A process's parent; none when it has ended."""
    fields = read_process(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields and fields[0] != "Z" else None


def is_slurmstepd(pid: int) -> bool:
    """Whether a process runs a job's step."""
    return read_process(pid, "comm").strip() == "slurmstepd"


def open_files(pid: int) -> set[str]:
    """Paths that a process holds open."""
    try:
        return {link(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()


# --- command line ---------------------------------------------------------------------------------------------


def parse_setting(text: str) -> tuple[str, str]:
    """Split KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"\w+", key) or "\n" in value:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="test_cluster", description="A small Slurm cluster for tests.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    shown = {
        "start": "start the cluster and wait until both nodes are idle",
        "stop": "stop it; logs, jobs' records and the database stay",
        "status": "say what runs; the exit status is 3 unless all does",
        "env": 'print what makes Slurm\'s commands use it: eval "$(test_cluster env)"',
        "kill-node": "kill a node and its jobs at once, as a power cut would",
        "start-node": "start a node that was killed",
        "restart-controller": "stop slurmctld and start it again",
    }
    for verb, text in shown.items():
        part = verbs.add_parser(verb, help=text, description=text)
        part.add_argument("--folder", type=Path, default=Path("build/test_cluster"), help="%(default)s")
        if verb.endswith("-node"):
            part.add_argument("node", choices=NODES)
        if verb == "start":
            part.add_argument("--accounting", action="store_true", help="with MariaDB and slurmdbd, for sacct")
            part.add_argument(
                "--set",
                dest="settings",
                type=parse_setting,
                nargs="+",
                action="extend",
                default=[],
                metavar="KEY=VALUE",
                help="override slurm.conf",
            )
    return parser.parse_args(arguments)


def show_status(cluster: SlurmCluster) -> int:
    """Print what runs."""
    status = cluster.status()
    state = "running" if status["running"] else "partly running" if status["pids"] else "stopped"
    print(f"{cluster.folder}: {state} ({describe(status)})")
    for name, pid in status["pids"].items():
        print(f"  {name} {pid} {status['nodes'].get(name, '')}".rstrip())
    return 0 if status["running"] else 3


def show_environment(cluster: SlurmCluster) -> None:
    """Print lines for a shell."""
    if not (cluster.folder / "slurm.conf").is_file():
        raise ClusterError(f"no cluster is in {cluster.folder}: start one, by {command('start', cluster.folder)}")
    for key, value in cluster.environment().items():
        print(f"export {key}={shlex.quote(value)}")


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; the exit status."""
    cluster = SlurmCluster(options.folder)
    if options.verb == "start":
        started = cluster.start(accounting=options.accounting, settings=dict(options.settings))
        print(f"the cluster in {cluster.folder} {'runs' if started else 'runs already'}")
    elif options.verb == "stop":
        print(f"the cluster in {cluster.folder} {'is stopped' if cluster.stop() else 'did not run'}")
    elif options.verb == "status":
        return show_status(cluster)
    elif options.verb == "env":
        show_environment(cluster)
    elif options.verb == "kill-node":
        print(f"killed {cluster.kill_node(options.node)} processes of {options.node}")
    elif options.verb == "start-node":
        print(f"{options.node} {'runs' if cluster.start_node(options.node) else 'runs already'}")
    else:
        cluster.restart_controller()
        print("slurmctld runs again")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    try:
        return run(parse(arguments))
    except (ClusterError, OSError) as error:
        print(f"test_cluster: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
