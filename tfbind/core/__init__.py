"""What every other room needs: errors for people, whole files, sources."""
