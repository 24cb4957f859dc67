"""What holds the workers, in the test's process: starts them, hears what they tell, counts, waits and stops them."""
