"""What a plugin provides, and what the node gives it: contracts only."""

from __future__ import annotations

from typing import Any

from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface


class IFramework(Interface):
    """What a plugin is given of the node it runs in."""

    config: Any = Attribute(
        "The whole config, a `scfd.config.Config`; the plugin's own part is `config.plugin`."
    )
    identity: Any = Attribute("Who this node is and whom it talks to, a `scfd.identity.Identity`.")
    task_store: Any = Attribute("The task list, a `scfd.events.tasks.TaskStore`.")
    clock: Any = Attribute(
        "What waits, an `IReactorTime`: ``callLater(seconds, …)``; in tests it is virtual."
    )
    now: Any = Attribute(
        "A function that says what time it is, seconds since the epoch; in tests it is virtual."
    )


class INativePlugin(IPlugin):
    """
    Business logic in the node's own process: what `ITaskPlugin` and `IFunctionPlugin` have in common.

    An object in a module of the package ``twisted.plugins`` or ``scfd.plugins`` that provides one of the two
    is found by its ``name``.
    """

    def init(framework):
        """
        Get ready. Called once, before the first event.

        :param framework: an `IFramework`.
        :returns: None, or a Deferred or coroutine that ends when the plugin is ready. A failure
            keeps the node from starting: it is logged and the process ends with status 1. For a
            mistake of the user, such as a setting that is missing, raise
            `scfd.errors.StartupError`: its text is shown, without a traceback.
        """


class ITaskPlugin(INativePlugin):
    """
    A plugin that the node calls for one task or one message at a time.

    It has ``on_task`` of `ITaskHandler`, or ``on_message`` of `IMessageHandler`, or both; having the method
    is enough, these two need not be declared.
    """

    name = Attribute("What the config calls this plugin: a non-empty str.")


class ITaskHandler(Interface):
    """The part of an `ITaskPlugin` that handles tasks."""

    def on_task(task, event):
        """
        Handle a task. Called for each job that is due at a timer event (a task and an interval) and for each
        valid task without ``intervals``, ``task_concurrency`` of them at once.

        :param task: a `scfd.events.work.Task`.
        :param event: a `scfd.events.event.TriggerEvent`.
        :returns: the task's result, or a Deferred, a coroutine or another awaitable of it. A text or any
            other JSON value is the result of a task that has succeeded, None an empty one; a
            `scfd.events.event.TaskResult` has a status of its own. A failure is that task's alone: it is
            reported as failed, with the failure's words.
        """


class IMessageHandler(Interface):
    """The part of an `ITaskPlugin` that handles messages."""

    def on_message(message, event):
        """
        Handle a message.

        :param message: a `scfd.events.work.Message`.
        :param event: a `scfd.events.event.TriggerEvent`.
        :returns: None, a `scfd.events.event.TaskResult` or a list of them, or a Deferred, a coroutine or
            another awaitable of these. After a failure the message is delivered again.
        """


class IFunctionPlugin(INativePlugin):
    """A plugin that handles whole events."""

    name = Attribute("What the config calls this plugin: a non-empty str.")

    def on_trigger(event):
        """
        Handle an event. May be called again before the last call has ended.

        :param event: a `scfd.events.event.TriggerEvent`.
        :returns: a `scfd.events.event.TriggerResponse` or None (no results), or a Deferred or coroutine of
            one of these. A failure is that event's alone: a timer goes on with its next fire, a
            message is delivered again.
        """


class IBlockingPlugin(Interface):
    """
    A plugin whose methods block: they wait for files, sockets, locks, or compute for long. It has no methods;
    declaring it is enough.

    The node calls ``init``, ``on_task``, ``on_message``, ``on_trigger`` and ``stop`` in threads of the
    plugin's own, ``adapter.threads`` of them, in several at once. They return plain values: no Deferred and
    no coroutine.
    """


class IStoppable(Interface):
    """A plugin that cleans up when the node stops."""

    def stop():
        """
        Called once, after the last call for an event has ended, or has used up its time (``shutdown.drain``).

        :returns: None, or a Deferred or coroutine that ends when the plugin is done.
        """


class IHeartbeatContributor(Interface):
    """A plugin with constant fields for every heartbeat."""

    def heartbeat_extra():
        """:returns: a dict of JSON values, merged over the top level of the heartbeat."""


class IDynamicHeartbeatContributor(Interface):
    """A plugin that makes fields for each heartbeat."""

    def heartbeat_extra_func():
        """:returns: a dict of JSON values, merged over the static ones. Called for each heartbeat."""


class IWebContributor(Interface):
    """A plugin that serves HTTP behind the gateway."""

    def resource():
        """:returns: a `twisted.web.resource.IResource`, asked for once, after ``init``."""


class IDrainable(Interface):
    """A service that can stop taking new work before it stops."""

    def drain():
        """
        Take no new work.

        :returns: a Deferred that fires when all the work that was taken is finished.
        """


class ITrigger(IDrainable):
    """
    A service that makes events, of one trigger or several. It knows a callable ``dispatch(event)``, not who
    is behind it: that returns a Deferred which fires when the plugin's results are on disk.
    """

    def names():
        """:returns: the names of its triggers."""

    def state(name):
        """
        :returns: a dict of JSON values for operators: ``type``, ``paused`` (a bool), and what comes next, in
            fields that depend on the type.
        """

    def event(name, payload, tasks, metadata):
        """
        Make an event by hand.

        :param payload: a JSON value in place of the event's own; None leaves that.
        :param tasks: the ids of the tasks it is to have; None for all.
        :param metadata: strings to strings, over the event's own.
        :returns: a `scfd.events.event.TriggerEvent` as ``dispatch`` takes it.
        :raises ValueError: there can't be such an event; the text says what was expected.
        """

    def pause(name):
        """Make no more events until `resume` is called."""

    def resume(name):
        """Make events again."""


class IEventHandler(Interface):
    """What the dispatcher gives events to: an adapter, or what calls a task plugin through it."""

    def on_trigger(event):
        """
        :param event: a complete `scfd.events.event.TriggerEvent`.
        :returns: a Deferred of a `scfd.events.event.TriggerResponse`. It fails with
            `scfd.errors.PluginError`, or with whatever the plugin's own code raised.
        """


class IAdapter(IEventHandler):
    """
    A service that stands between the node and a plugin, wherever that runs.

    Its ``startService`` returns a Deferred that fires when the plugin is ready and fails with
    `scfd.errors.StartupError` when it never is.
    """

    plugin_name = Attribute("What the plugin is called, a str.")

    def heartbeat_extra():
        """:returns: a dict, the plugin's fields for the next heartbeat. Never raises."""

    def web_resource():
        """:returns: an `IResource` for what the gateway does not serve itself, or None."""


class ITaskAdapter(IAdapter):
    """An adapter that can call its plugin for single tasks and messages, where that is a task plugin."""

    is_task_plugin = Attribute("Whether the plugin is one. ``on_trigger`` is not to be called then.")

    def can_handle(method):
        """:returns: whether the plugin has ``on_task`` or ``on_message``, as far as the node can know."""

    def busy():
        """
        :returns: None when a call would begin at once, as far as the node knows; else a Deferred that fires
            when that may have changed. It may be cancelled.
        """

    def call_task(task, event, seconds):
        """
        :param task: a `scfd.events.work.Task`.
        :param event: a complete `scfd.events.event.TriggerEvent`.
        :param seconds: that it may take.
        :returns: a Deferred of a `scfd.events.event.TaskResult`. It fails like that of ``on_trigger``.
        """

    def call_message(message, event, seconds):
        """
        The same for a `scfd.events.work.Message`.

        :returns: a Deferred of a `scfd.events.event.TriggerResponse`. It fails like that of ``on_trigger``.
        """


class IReports(Interface):
    """Where task results go."""

    def put(results):
        """
        Accept results for delivery in the background.

        :param results: a list of `scfd.events.event.TaskResult`; may be empty.
        :returns: a Deferred that fires when they are on disk, and fails when they can't be put there.
        """
