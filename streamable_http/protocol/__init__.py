"""The protocol without I/O: values in, values out.

Nothing in here reads a socket, a clock, a setting or a framework. ``http`` and ``jsonrpc`` are the
values, ``sse`` and ``cursors`` the codecs, ``revisions`` the table of facts, ``server`` the admission.
"""
