"""A first program. Press Run (or Ctrl+Enter) and watch the output."""
import platform
import sys


def greet(name: str) -> str:
    return f"Hello, {name}!"


if __name__ == "__main__":
    print(greet(sys.argv[1] if len(sys.argv) > 1 else "studio"))
    print(f"Python {platform.python_version()} in a sandbox without a network")
