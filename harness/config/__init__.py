"""The run's configuration: fields, layers, types; the experiment that it names."""
