"""The tools that a policy may call, as a configuration names them.

fields   `ToolFields`, `tools_of`: their names and limits, checked
"""
