"""Reports: stored runs and training runs as a folder of web pages that open from disk.

`web/src/types.ts` says what each file of the folder holds; the viewer in `web/` shows it.
"""
