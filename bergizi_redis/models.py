"""The one table of this app: what a write has made void while Redis was down. See ``cache/outbox.py``."""

from django.db import models


class OwedBump(models.Model):
    """A version key to be bumped, noted in the transaction of the write; struck out when it has been."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=512)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "owed invalidation"
        verbose_name_plural = "owed invalidations"

    def __str__(self) -> str:
        return self.key
