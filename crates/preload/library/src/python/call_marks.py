# Marks a cycle whenever a function is called. Runs inside the interpreter of the program, in a namespace of
# its own with `target`, the dotted name of the function, and the functions `mark` and `watch_frames`.
import sys

parts = target.split(".")


def member(value, name):
    """What a module or a class has under a name. Nothing is loaded for it."""
    for owner in getattr(value, "__mro__", (value,)):
        found = getattr(owner, "__dict__", {}).get(name)
        if found is not None:
            return found
    return None


def resolve():
    """The owner of the target and the target, as soon as its module is loaded."""
    for end in range(len(parts) - 1, -1, -1):
        owner, value = None, sys.modules.get(".".join(parts[:end]) or "__main__")
        for part in parts[end:]:
            owner, value = value, member(value, part)
        if value is not None:
            # To call a class is to initialize an object.
            is_class = isinstance(value, type)
            return (value, "__init__") if is_class else (owner, parts[-1])
    return None


def innermost(value):
    """The function behind decorators, methods of classes, and properties."""
    while value is not None:
        inner = getattr(value, "__wrapped__", None) or getattr(value, "fget", None)
        if inner is None:
            return getattr(value, "__func__", value)
        value = inner


def code_of_target():
    found = resolve()
    return found and getattr(innermost(member(*found)), "__code__", None)


def is_running(code, frame):
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def mark_call(code, caller):
    # A call within a call belongs to the same cycle.
    if not is_running(code, caller):
        mark()


def watch_by_monitoring():
    """From Python 3.12 on: other functions cost one call of `started` each, until the target is found."""
    monitoring = sys.monitoring
    event = monitoring.events.PY_START
    names = {parts[-1], "__init__"}
    known = []

    def started(code, offset):
        if not known:
            if code.co_name not in names:
                return monitoring.DISABLE
            if code is not code_of_target():
                return None
            known.append(code)
            monitoring.set_local_events(tool, code, event)
            monitoring.set_events(tool, 0)
        if code is known[0]:
            mark_call(code, sys._getframe(1).f_back)
        return None

    for tool in (4, 3, 2, 1, 0, 5):
        if monitoring.get_tool(tool) is None:
            break
    monitoring.use_tool_id(tool, "afterdrop")
    monitoring.register_callback(tool, event, started)
    monitoring.set_events(tool, event)


def watch_by_wrapping():
    """Before Python 3.12: the function is replaced by one that marks when it is called for the first time."""

    def found(code):
        """Called when a function of that name is called. Returns whether it is the target."""
        if code is not code_of_target():
            return False
        owner, name = resolve()
        original = member(owner, name)
        replaced = wrapped(original, code)
        setattr(owner, name, replaced)
        # Other modules have imported it by its name.
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", {})
            for key, value in list(names.items()):
                if value is original:
                    names[key] = replaced
        return True

    # Names in code objects are interned, too.
    watch_frames(found, sys.intern(parts[-1]), sys.intern("__init__"))


def wrapped(function, code):
    """The function, or descriptor of a class, with a mark before each call."""
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(wrapped(function.__func__, code))
    if isinstance(function, property):
        return function.getter(wrapped(function.fget, code))

    def marking(*args, **kwargs):
        mark_call(code, sys._getframe(1))
        return function(*args, **kwargs)

    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(marking, attribute, getattr(function, attribute, None))
    marking.__dict__.update(getattr(function, "__dict__", {}))
    marking.__wrapped__ = function
    return marking


if hasattr(sys, "monitoring"):
    watch_by_monitoring()
else:
    watch_by_wrapping()
