"""What a bookshop has: books on shelves, orders, refunds."""

from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from demo_project.bookshop import isbn


class Author(models.Model):
    """Who wrote a book."""

    name = models.CharField(max_length=100, unique=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    """An edition of a work, at its price."""

    # Without one it is NULL, which "unique" does not count.
    isbn = models.CharField("ISBN", max_length=13, unique=True, null=True, blank=True, validators=[isbn.validate])
    title = models.CharField(max_length=200, db_index=True)
    edition = models.CharField(max_length=40, default="Paperback")
    author = models.ForeignKey(Author, on_delete=models.PROTECT, related_name="books")
    price = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(Decimal(0))])

    class Meta:
        ordering = ("title", "edition")
        constraints = (
            models.UniqueConstraint(fields=("title", "edition", "author"), name="bookshop_book_once_per_edition"),
        )

    def __str__(self) -> str:
        return f"{self.title} ({self.edition})"


class Stock(models.Model):
    """Where a book stands and how many copies there are."""

    book = models.OneToOneField(Book, on_delete=models.CASCADE, related_name="stock")
    shelf = models.CharField(max_length=8, db_index=True)
    copies = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("shelf", "book")
        verbose_name_plural = "stock"

    def __str__(self) -> str:
        return f"{self.copies} × {self.book} on {self.shelf}"


class Order(models.Model):
    """What a customer bought at one time."""

    number = models.PositiveIntegerField(unique=True)
    customer_number = models.PositiveIntegerField()
    placed_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ("-number",)

    def __str__(self) -> str:
        return f"Order {self.number}"


class OrderLine(models.Model):
    """Some copies of one book in an order, at the price of that day."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    book = models.ForeignKey(Book, on_delete=models.PROTECT, related_name="order_lines")
    copies = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])
    unit_price = models.DecimalField(max_digits=8, decimal_places=2)

    class Meta:
        ordering = ("order", "pk")

    def __str__(self) -> str:
        return f"{self.copies} × {self.book}"

    @property
    def amount(self) -> Decimal:
        return self.copies * self.unit_price


class Refund(models.Model):
    """Money that went back for an order; at most once."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT, related_name="refund")
    amount = models.DecimalField(max_digits=8, decimal_places=2)
    reason = models.CharField(max_length=200)
    refunded_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-refunded_at",)

    def __str__(self) -> str:
        return f"{self.amount} for {self.order}"
