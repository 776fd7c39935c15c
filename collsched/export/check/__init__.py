"""Readers of exported files: each takes a file's text for what its runtime would do, executes that on sets of
contributors instead of numbers, and refuses it if any timing could end in something else. They share no code with what
writes the files: no lowering, no pass, no emitter."""
