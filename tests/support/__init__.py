"""What tests share: small problems, fits, groups of processes, a SLURM of their own."""
