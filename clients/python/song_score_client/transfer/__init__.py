"""Moves bytes: uploads and downloads in parts, resumable, verified.

upload.py, download.py              one file up, one object down: what the commands and users call
upload_stream.py, download_stream.py  one stream of such a transfer
signed_upload.py, signed_download.py  the same parts by signed URLs
streams.py, parallelism.py          which way they go, and how many at once
parts.py                            which parts are still to be moved, and by whom
digests_together.py                 digests of parts, before signed URLs are asked for
local_file.py, journal.py           the file on this machine, and what is remembered of it
listener.py, rate.py                who watches, and who slows it down
"""
