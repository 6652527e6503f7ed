"""A request and two engines -> what each makes of it, side by side: `lumi diff`."""
