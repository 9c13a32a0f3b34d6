"""Where images come from: folders, files, globs, archives and lists of paths; and how to read them again.

``scan`` finds images and offers them; ``Reader`` reads the bytes of what was offered. Neither decodes anything.
"""

from zgrid.sources.reader import Reader, read
from zgrid.sources.roots import Roots
from zgrid.sources.scan import Passed, roots_of, scan
from zgrid.sources.uri import member_to_uri, path_to_uri, uri_to_path

__all__ = ["Passed", "Reader", "Roots", "member_to_uri", "path_to_uri", "read", "roots_of", "scan", "uri_to_path"]
