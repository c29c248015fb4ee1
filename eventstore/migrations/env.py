"""Runs migrations over the connection that the caller hands in, or over alembic.ini's url."""

from alembic import context

from eventstore.storage.store import Store

given = context.config.attributes.get("connection")
if given is not None:
    context.configure(connection=given, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    with Store(url).write() as connection:
        context.configure(connection=connection, transactional_ddl=True)
        context.run_migrations()
