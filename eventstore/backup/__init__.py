"""The journal, out into a directory and in again: `docs/backup-format.md` describes the files.

manifest.py     what a backup consists of, sealed
line.py         one row of the journal as a line of text
file.py         compressed files of lines that are whole or not there
dump.py         store -> directory; each further dump writes only what is new
restoration.py  directory -> store, all or nothing
"""
