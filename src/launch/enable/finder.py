import os, sys
known = frozenset("KNOWN".split())
pid = os.getpid()

def find_spec(name, path=None, target=None):
    if name in known:
        try:
            from _cudashim_hook import met
        except ImportError:
            return None
        return met(name, pid)

sys.meta_path.insert(0, type("cudashim", (), {"find_spec": staticmethod(find_spec)}))
