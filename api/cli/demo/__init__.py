"""`kedge demo`: the main job from genesis to audit, every user played from outside against the real processes."""
