"""``python -m replication``."""

import sys

if __name__ == "__main__":
    try:
        from replication.cli import main
    except KeyboardInterrupt:  # the imports take seconds
        print("error: interrupted before anything was done", file=sys.stderr)
        sys.exit(130)
    sys.exit(main())
