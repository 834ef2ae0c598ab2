"""How much of the machine the process may have, and how much of it is left: processors, memory, open files. It reads /proc and control
groups. Never in here: what any of it is used for."""
