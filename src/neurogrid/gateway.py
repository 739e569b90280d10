"""One gateway: its parts, in the order in which they start and stop."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from neurogrid import notices
from neurogrid.auth.deps import admit
from neurogrid.auth.parts import make_auth
from neurogrid.core.background import Background
from neurogrid.core.db import Database
from neurogrid.core.egress import Egress
from neurogrid.core.ids import new_id
from neurogrid.core.sabotage import Protection, switched_off
from neurogrid.core.settings import Environment, Settings
from neurogrid.dispatch.attach import NodeGate
from neurogrid.dispatch.attempts import Attempts
from neurogrid.dispatch.orders import NodeOrders
from neurogrid.dispatch.parting import Parting
from neurogrid.dispatch.service import CONTROL, WAKE, Dispatcher
from neurogrid.dispatch.settlements import Settlements
from neurogrid.dispatch.watch import Watch
from neurogrid.events.factory import make_bus
from neurogrid.events.states import StateEvents
from neurogrid.idempotency.service import Idempotency
from neurogrid.limits.counting import Counting
from neurogrid.limits.service import LimitService
from neurogrid.limits.statistics import SHARED_EVERY
from neurogrid.limits.statistics import TOPIC as LIMITED
from neurogrid.limits.tokens import TOPIC as TOKENS_USED
from neurogrid.limits.tokens import TokenBudget
from neurogrid.nodes.joining import JoinTokens
from neurogrid.nodes.service import NodeService
from neurogrid.nodes.store import NodeStore
from neurogrid.queue.build import make_journal
from neurogrid.queue.keys import SpentKeys
from neurogrid.queue.outputs import OutputStore
from neurogrid.queue.policy import RetryPolicy
from neurogrid.queue.sessions import Sessions
from neurogrid.queue.upkeep import Upkeep
from neurogrid.queue.views import QueueViews
from neurogrid.streams.admin import Notices
from neurogrid.streams.desertion import Desertion
from neurogrid.streams.hub import Hub
from neurogrid.tasks.bulk import BulkSubmissions
from neurogrid.tasks.cancellation import Cancellation
from neurogrid.tasks.deadlines import Deadlines
from neurogrid.tasks.explain import Forecaster
from neurogrid.tasks.load import OwnerLoad
from neurogrid.tasks.outlook import Outlook
from neurogrid.tasks.records import TaskRecords
from neurogrid.tasks.replays import Replays
from neurogrid.tasks.service import TaskService
from neurogrid.tasks.store import TaskStore
from neurogrid.tasks.submission import Submissions
from neurogrid.tasks.waiters import Waiters
from neurogrid.usage.parts import make_usage
from neurogrid.vitals import Vitals

log = structlog.get_logger(__name__)

SEEN_INTERVAL = 5.0
TOKEN_INTERVAL = 2.0
FORGET_INTERVAL = 600.0
USES_INTERVAL = 30.0
MAIL_INTERVAL = 1.0
ROLL_UP_INTERVAL = 2.0
SWEEP = "sweep"
PART_CLOSES_WITHIN = 8.0
"""Seconds each part gets to close; most have shorter bounds of their own."""
DRAIN_SECONDS = 2.0


class Gateway:
    """Everything a gateway process holds, made of settings. A gateway's id is its process (R29)."""

    def __init__(self, settings: Settings) -> None:
        """Put the parts together; nothing is opened."""
        self.settings = settings
        self.id = new_id()
        self._off = switched_off(production=settings.env is Environment.PRODUCTION)
        policy = RetryPolicy(settings.tasks.retry_base, settings.tasks.retry_max, settings.tasks.max_losses)
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        self._background = Background()
        self._database = Database(settings.effective_database_url)
        self._bus = make_bus(redis_url, settings.live)
        self._journal = make_journal(self._database, settings.journal, self._off)
        self._states = StateEvents(self._bus)
        self._upkeep = Upkeep(self._database, self.id, settings.grid.lease, policy)
        self._views = QueueViews(self._database)
        nodes = NodeStore(self._database)
        self.join_tokens = JoinTokens(nodes)
        self.nodes = NodeService(
            nodes, self._views, settings.tasks.default_model, lambda node: self._orders.announce(node)
        )
        self._dispatcher = Dispatcher(self._journal, self._upkeep, self._bus, self._states, settings.grid)
        self._watch = Watch(self._dispatcher, policy)
        sessions = Sessions(self._database)
        parting = Parting(self._dispatcher, sessions)
        self._orders = NodeOrders(
            self._dispatcher, self._bus, self.nodes, self.join_tokens, sessions, parting
        )
        outputs = OutputStore(self._database, settings.journal.inline_output, settings.tasks.max_output)
        fenced = self._off is not Protection.FENCE
        settlements = Settlements(self._dispatcher, outputs, policy, fenced=fenced)
        self.gate = NodeGate(
            self._dispatcher,
            Attempts(self._dispatcher, settlements, outputs.most),
            settlements,
            self.nodes,
            parting,
        )
        store = TaskStore(self._database)
        self._waiters = Waiters(self._bus, self._states, store, settings.live)
        self._egress = Egress(settings.egress)
        self.identity = make_auth(self._database, settings, self._egress)
        self.auth = self.identity.service
        outlook = Outlook(self._views, self.nodes, self._dispatcher)
        self._counting = Counting(settings.limits, redis_url, self.id)
        self.limits = LimitService(settings.limits, self._counting)
        self._tokens = TokenBudget(
            self.limits, self._counting, lambda payload: self._bus.send(TOKENS_USED, payload)
        )
        self._dispatcher.on_used = self._tokens.used
        self.usage = make_usage(self._database, self.identity, settings)
        self._submissions = Submissions(
            self._journal,
            store,
            self._states,
            self.nodes,
            self._dispatcher,
            self._waiters,
            Deadlines(outlook),
            self._tokens,
            self.usage.quotas,
            settings.tasks,
        )
        self._idempotency = Idempotency(self._database)
        self._spent_keys = SpentKeys(self._database)
        self._bulk = BulkSubmissions(self._submissions, store, self._idempotency)
        self._forecaster = Forecaster(store, outlook, self.nodes, self._dispatcher, settings.tasks)
        cancellation = Cancellation(self._journal, store, self._states, self._dispatcher)
        self._tasks = TaskService(store, cancellation)
        self._replays = Replays(
            self._journal,
            store,
            self._states,
            self.nodes,
            self._dispatcher,
            OwnerLoad(store, settings.tasks.max_queued),
            self._tokens,
            self.usage.quotas,
        )
        vitals = Vitals(self._views, self._journal, self._bus)
        self._hub = Hub(
            self._bus,
            TaskRecords(store),
            settings.live,
            recheck=self.auth.recheck,
            stats=lambda: vitals.figures(self._hub),
            resumes=self._off is not Protection.RESUME,
        )
        notices.wire(
            Notices(self._bus, self._background.spawn),
            self._hub.admin,
            gateway=self.id,
            dispatcher=self._dispatcher,
            limits=self.limits,
            identity=self.identity,
        )
        self._desertion = Desertion(
            self._bus,
            cancellation,
            lambda task: self._hub.follows(task) or self._waiters.awaits(task),
            settings.live.disconnect_grace,
        )
        self._hub.on_left = self._desertion.left
        self._health = vitals.checks()

    def state(self) -> dict[str, Any]:
        """Return what dependencies find in ``request.state``."""
        return {
            "auth": self.auth,
            "identity": self.identity,
            "cookies": self.identity.cookies,
            "admit": admit,
            "limits": self.limits,
            "usage": self.usage.service,
            "tasks": self._tasks,
            "submissions": self._submissions,
            "bulk": self._bulk,
            "idempotency": self._idempotency,
            "replays": self._replays,
            "forecaster": self._forecaster,
            "nodes": self.nodes,
            "join_tokens": self.join_tokens,
            "gate": self.gate,
            "hub": self._hub,
            "bus": self._bus,
            "health": self._health,
        }

    async def start(self) -> None:
        """Open everything and begin the rounds."""
        await self._journal.start()
        await self._bus.start()
        await self._counting.start(self._background)
        await self.nodes.refresh()
        dispatcher, grid = self._dispatcher, self.settings.grid
        await self._bus.listen(WAKE, dispatcher.woken)
        await self._bus.listen(CONTROL, dispatcher.listen_control)
        await self._bus.listen(CONTROL, self._orders.listen)
        await self._bus.listen(TOKENS_USED, self._tokens.listen)
        await self._bus.listen(LIMITED, self.limits.shared.listen)
        if self._database.sqlite:
            await self._watch.sweep_embedded()
        await self._hub.start()
        await self._desertion.start()
        self._background.spawn(dispatcher.run(), "dispatch")
        await self._waiters.start()
        self._background.every(self._waiters.interval, self._waiters.look, "waiters")
        for seconds, work, name in (
            (grid.reconcile, self._watch.reconcile, "reconcile"),
            (grid.reconcile, self._watch.silence, "silence"),
            (grid.reconcile, self._orders.round, "node_orders"),
            (TOKEN_INTERVAL, self._orders.check_tokens, "node_tokens"),
            (SHARED_EVERY, self._share_statistics, "limit_statistics"),
            (grid.sweep, self._watch.sweep, SWEEP),
            (grid.orphan_sweep, self._watch.sweep_orphans, "sweep_orphans"),
            (grid.orphan_sweep, self._watch.settle_followers, "settle_followers"),
            (grid.poll, self._watch.promote, "promote"),
            (grid.poll, self._watch.admit_held, "admit_held"),
            (grid.reconcile, self._watch.sync_clocks, "clocks"),
            (grid.poll, self._watch.expire, "expire"),
            (SEEN_INTERVAL, self._note_seen, "nodes_seen"),
            (FORGET_INTERVAL, self._forget_keys, "idempotency_keys"),
            (FORGET_INTERVAL, self.identity.forget_old, "expired_credentials"),
            (USES_INTERVAL, self.auth.note_uses, "session_uses"),
            (MAIL_INTERVAL, self.identity.deliver, "mails"),
            (ROLL_UP_INTERVAL, self.usage.roll_up.round, "usage"),
        ):
            if name != SWEEP or self._off is not Protection.LEASE:
                self._background.every(lambda seconds=seconds: seconds, work, name)  # type: ignore[misc]
        self._background.every(self._poll_interval, self._watch.poll, "poll")
        log.info(
            "gateway.started",
            gateway=self.id,
            database="sqlite" if self._database.sqlite else "postgresql",
            bus="redis" if self._bus.shared else "in-process",
        )

    def stop_accepting(self) -> None:
        """Let go of whoever waits or watches: a server waits for open requests before it stops. Quick."""
        self._hub.stop_accepting()
        self._waiters.stop()

    async def close(self) -> None:
        """Stop in the opposite order: clients and nodes are sent elsewhere, what is accepted is written."""
        settling = self._dispatcher.background
        for part, close in (
            ("hub", self._hub.shutdown),
            ("desertion", self._desertion.close),
            ("nodes", self.gate.close),
            ("settlements", lambda: settling.drain(DRAIN_SECONDS)),
            ("rounds", self._background.close),
            ("session uses", self.auth.note_uses),
            ("dispatch", settling.close),
            ("journal", self._journal.close),
            ("states", self._states.close),
            ("bus", self._bus.close),
            ("egress", self._egress.close),
            ("database", self._database.close),
        ):
            try:
                async with asyncio.timeout(PART_CLOSES_WITHIN):
                    await close()
            except TimeoutError:  # a server that hangs, say
                log.warning("gateway.part_does_not_close", part=part)
            except Exception:  # a server that is gone must not keep the other parts from closing
                log.exception("gateway.part_failed_to_close", part=part)
        log.info("gateway.stopped", gateway=self.id)

    def _poll_interval(self) -> float:
        alone = self._bus.shared and not self._bus.healthy
        return self.settings.grid.poll_alone if alone else self.settings.grid.poll

    async def _note_seen(self) -> None:
        connections = self._dispatcher.connections.values()
        await self.nodes.seen([connection.node_id for connection in connections if connection.connected])
        await self.nodes.refresh()

    async def _forget_keys(self) -> None:
        await self._idempotency.forget()
        await self._spent_keys.forget()

    async def _share_statistics(self) -> None:
        await self._bus.send(LIMITED, self.limits.shared.said())
