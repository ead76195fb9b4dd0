from django.contrib import admin

from demo_project.bookshop.models import Author, Book, Order, OrderLine, Refund, Stock


class StockInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Stock


class OrderLineInline(admin.TabularInline):  # type: ignore[type-arg]
    model = OrderLine
    autocomplete_fields = ("book",)
    extra = 0


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    search_fields = ("name",)


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("title", "edition", "author", "price")
    list_filter = ("edition",)
    list_select_related = ("author",)
    search_fields = ("title", "author__name")
    autocomplete_fields = ("author",)
    inlines = (StockInline,)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("number", "customer_number", "placed_at")
    date_hierarchy = "placed_at"
    search_fields = ("number",)
    inlines = (OrderLineInline,)


@admin.register(Refund)
class RefundAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("order", "amount", "reason", "refunded_at")
    autocomplete_fields = ("order",)
