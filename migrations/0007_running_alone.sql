-- Jobs for which there was too little memory beside others.
ALTER TABLE job ADD COLUMN alone INTEGER NOT NULL DEFAULT 0; -- 1: runs while no other does
