"""The loopback rig: what a live run shows, how old it is, and what it does when the sender goes away.

Owns the measurement behind `endostream bench --rig`. Must not know the window or real networks.
"""
