"""The way from files to a warm model: plan, load, trial runs, warm-up."""
