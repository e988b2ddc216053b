"""What of a picture is patient and what is lung: for the networks' input, the verdict and the measures."""
