"""Files that a command reads its fields from, and where it may write.

tables   `load_table`: TOML and YAML files
paths    names that stay under OUT, and no writing through links
"""
