"""All that is said to the control plane, the Moox server, and what it says back."""
