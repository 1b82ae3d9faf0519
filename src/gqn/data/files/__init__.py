"""The released format: `tfrecord` handles files of records, `example` a record's payload, `jpeg` the coding of frames.

`stored` reads scenes from such files, `export` writes them, `inspect` summarises the files and checks them for damage.
"""
