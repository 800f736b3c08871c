"""What `funreason eval` needs: answers to a suite, and which suites there are."""
