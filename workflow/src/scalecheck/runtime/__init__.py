"""The frame of programs: options, log, locks, device, memory and time limits."""
