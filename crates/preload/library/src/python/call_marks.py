# Marks a cycle whenever a function is called. Runs inside the interpreter of the program, in a namespace of
# its own with `target`, the dotted name of the function, and the functions `mark`, `count_frames` and
# `watch_frames`.
import sys

parts = target.split(".")


def own(value, name):
    """What an object has under a name by itself. None of its code runs for it."""
    try:
        return object.__getattribute__(value, "__dict__").get(name)
    except AttributeError:
        return None


def member(value, name):
    """What a module or a class has under a name."""
    owners = type.__dict__["__mro__"].__get__(value) if issubclass(type(value), type) else (value,)
    for owner in owners:
        found = own(owner, name)
        if found is not None:
            return found
    return None


def resolve():
    """The owner of the target and its name there, as soon as its module is loaded."""
    for end in range(len(parts) - 1, -1, -1):
        owner, value = None, sys.modules.get(".".join(parts[:end]) or "__main__")
        for part in parts[end:]:
            owner, value = value, member(value, part)
        if value is not None:
            # To call a class is to initialize an object.
            return (value, "__init__") if issubclass(type(value), type) else (owner, parts[-1])
    return None


def innermost(value):
    """The function behind decorators, methods of classes, and properties."""
    while value is not None:
        inner = own(value, "__wrapped__")
        if type(value) is property:
            inner = value.fget
        elif type(value) in (staticmethod, classmethod):
            inner = value.__func__
        if inner is None:
            return value
        value = inner


def code_of_target():
    found = resolve()
    function = found and innermost(member(*found))
    return function.__code__ if type(function) is type(resolve) else None


def mark_call(code, own_frames):
    # A call within a call belongs to the same cycle.
    if count_frames(code) == own_frames:
        mark()


def watch_by_monitoring():
    """From Python 3.12 on: other functions cost one call of `started` each, until the target is found."""
    monitoring = sys.monitoring
    event = monitoring.events.PY_START
    names = {parts[-1], "__init__"}
    known = []

    def started(code, offset):
        if code.co_name not in names:
            return monitoring.DISABLE
        if not (known and code is known[0]):
            if code is not code_of_target():
                # Before the target is found, it may be this one later.
                return monitoring.DISABLE if known else None
            # A module that is loaded again defines it again.
            known[:] = [code]
            names.intersection_update([code.co_name])
        mark_call(code, 1)
        return None

    for tool in (4, 3, 2, 1, 0, 5):
        if monitoring.get_tool(tool) is None:
            break
    monitoring.use_tool_id(tool, "afterdrop")
    monitoring.register_callback(tool, event, started)
    monitoring.set_events(tool, event)


def watch_by_replacing():
    """Before Python 3.12: when it is called for the first time, the function gets other code, which marks."""

    def found(code):
        """Called when a function of that name is called. Returns whether it is the target."""
        is_target = code is code_of_target()
        if is_target:
            replace_code(innermost(member(*resolve())), code)
        return is_target

    # Names in code objects are interned, too.
    watch_frames(found, sys.intern(parts[-1]), sys.intern("__init__"))


# How code of each kind calls the function `original`, by the flags of code objects.
CALLS = (
    (0x200, "async def", "async for item in original(*args, **kwargs): yield item"),
    (0x080, "async def", "return await original(*args, **kwargs)"),
    (0x020, "def", "return (yield from original(*args, **kwargs))"),
    (0, "def", "return original(*args, **kwargs)"),
)


def replace_code(function, code):
    """Lets a function mark each call, whoever has it."""
    original = type(function)(
        code, function.__globals__, code.co_name, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    original.__qualname__ = function.__qualname__

    def begin():
        mark_call(code, 0)

    _, define, call = next(kind for kind in CALLS if code.co_flags & kind[0] or not kind[0])
    # It has to have as many free variables. They are named, and not read.
    names = ", ".join(code.co_freevars)
    source = (
        f"def outer({names}):\n"
        f" {define} inner(*args, **kwargs):\n"
        f"  if 0: ({names})\n"
        f"  begin = 'begin'\n"
        f"  original = 'original'\n"
        f"  begin()\n"
        f"  {call}\n"
    )
    outer = compile(source, "<afterdrop>", "exec").co_consts[0]
    inner = next(value for value in outer.co_consts if hasattr(value, "co_code"))
    # The namespace is that of the function, so that these are constants.
    values = {"begin": begin, "original": original}
    constants = [values.get(value, value) if isinstance(value, str) else value for value in inner.co_consts]
    function.__code__ = inner.replace(
        co_consts=tuple(constants), co_name=code.co_name, co_qualname=code.co_qualname
    )
    # Its signature.
    function.__wrapped__ = original


if hasattr(sys, "monitoring"):
    watch_by_monitoring()
else:
    watch_by_replacing()
