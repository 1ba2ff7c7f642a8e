// Runs once, when the database is made: a user who may read and write the database of the platform and nothing else.
db.getSiblingDB("affluent").createUser({
  user: "affluent",
  pwd: process.env.MONGO_PASSWORD,
  roles: [{ role: "readWrite", db: "affluent" }],
});
