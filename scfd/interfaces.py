"""What a plugin provides, and what the node gives it: contracts only."""

from __future__ import annotations

from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface


class IFramework(Interface):
    """What a plugin is given of the node it runs in."""

    config = Attribute("The whole config, a `scfd.config.Config`; the plugin's own part is `config.plugin`.")
    identity = Attribute("Who this node is and whom it talks to, a `scfd.identity.Identity`.")
    task_store = Attribute("The task list, a `scfd.events.tasks.TaskStore`.")


class IFunctionPlugin(IPlugin):
    """
    Business logic that runs inside the node's process.

    An object in a module of the package ``twisted.plugins`` or ``scfd.plugins`` that provides this
    interface is found by its ``name``.
    """

    name = Attribute("What the config calls this plugin: a non-empty str.")

    def init(framework):
        """
        Get ready. Called once, before the first event.

        :param framework: an `IFramework`.
        :returns: None, or a Deferred or coroutine that ends when the plugin is ready. A failure
            keeps the node from starting: it is logged and the process ends with status 1. For a
            mistake of the user, such as a setting that is missing, raise
            `scfd.errors.StartupError`: its text is shown, without a traceback.
        """

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
    A plugin whose ``init``, ``on_trigger`` and ``stop`` block: they wait for files, sockets, locks, or
    compute for long. It has no methods; declaring it is enough.

    The node calls these three in threads of the plugin's own, ``adapter.threads`` of them, and
    ``on_trigger`` in several at once. They return plain values: no Deferred and no coroutine.
    """


class IStoppable(Interface):
    """A plugin that cleans up when the node stops."""

    def stop():
        """
        Called once, after the last ``on_trigger`` has ended, or has used up its time (``shutdown.drain``).

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
    A service that makes events. It knows a callable ``dispatch(event)``, not who is behind it:
    that returns a Deferred which fires when the plugin's results are on disk.
    """


class IAdapter(Interface):
    """
    A service that stands between the node and a plugin, wherever that runs.

    Its ``startService`` returns a Deferred that fires when the plugin is ready and fails with
    `scfd.errors.StartupError` when it never is.
    """

    plugin_name = Attribute("What the plugin is called, a str.")

    def on_trigger(event):
        """
        :param event: a complete `scfd.events.event.TriggerEvent`.
        :returns: a Deferred of a `scfd.events.event.TriggerResponse`. It fails with
            `scfd.errors.PluginError`, or with whatever the plugin's own code raised.
        """

    def heartbeat_extra():
        """:returns: a dict, the plugin's fields for the next heartbeat. Never raises."""

    def web_resource():
        """:returns: an `IResource` for what the gateway does not serve itself, or None."""


class IReports(Interface):
    """Where task results go."""

    def put(results):
        """
        Accept results for delivery in the background.

        :param results: a list of `scfd.events.event.TaskResult`; may be empty.
        :returns: a Deferred that fires when they are on disk, and fails when they can't be put there.
        """
