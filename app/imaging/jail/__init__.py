"""Pictures are decoded in processes that may die: :class:`app.imaging.jail.pool.DecoderPool`.

``pool`` is the service's side and ``process`` the other; ``messages`` is what goes between them,
and ``confinement`` what a process gives up before it sees a stranger's file.
"""
