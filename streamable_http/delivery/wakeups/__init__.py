"""Hints between workers that a stream or an ask has news.

A wake-up carries no data and may be lost: that costs one poll interval, never an event. Implementations by dotted
path: ``local.LocalWakeups`` (the default) and ``channel_layer.ChannelLayerWakeups``.
"""
