"""record.json: the record of a run.

schema        `Record`: the fields of a record; `check_record`
runs          `read_record`, `run_folders`, ...: the runs below a folder, folded or not
archive/      the runs of a finished study in three files
run_folder    the files of one run's folder
io            `write_json`, `read_json`: complete files or none
recorder      `Recorder`: writes record, metrics and outcomes during a run
environment   versions, machine and commit
variables     environment variables that could change a run: ignored, refused or recorded
fingerprint   hash and differences of configurations
upgrade       reads records and checkpoints of earlier versions
checksums     the sha256 of every file of a folder
foreign       runs of other trainers as records
sharing       a run for others: the card of its model, experiment trackers
lock          one process per run folder
"""
