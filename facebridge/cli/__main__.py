"""python -m facebridge.cli"""

from facebridge.cli import main

if __name__ == "__main__":
    main()
