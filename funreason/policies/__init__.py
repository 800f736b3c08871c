"""What answers tasks: one protocol, three samplers. Heavy libraries are imported only inside their adapter."""
