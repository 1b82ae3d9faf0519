"""Files at an address.

`fetch` fetches one file, `download` the files of a dataset to a folder, `cache` keeps the most recently used files, and
`source` reads scenes from such files.
"""
