"""What every training run shares, whatever is trained: settings, run folders, loop, schedule, pixel cache, devices."""
