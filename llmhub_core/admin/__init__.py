"""What the control plane can do: people and their sessions, and every act and number as a call with a typed answer."""
