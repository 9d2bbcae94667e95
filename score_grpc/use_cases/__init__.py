"""What callers of Score can ask for.

every story       environment, permission, audit
an upload         start, staging, write, claims; hashing and passing for its MD5; manage to see or abort it
by signed URLs    signing, signed_transfers, own_urls
its completion    complete, completion
many small ones   small_objects, small_groups, small_memory, whole_upload; small_reads down again
an object         objects, read, verify, delete, changing
nobody asked      collect, adopt
"""
